"""k8s/run.sh: runs beside each other, which share features and no name."""

import json
from typing import Any

import pytest
from kubernetes_validate import validate

from tests.k8s.containers import command_line, environment
from tests.k8s.manifests import (
    JOBS,
    Manifest,
    Template,
    needs_kubectl,
    of_kind,
    rendered,
    rendered_run,
    run_script,
    templates,
)
from tests.processes import ROOT
from trainer.train.tf_config import tf_config_of_indexed_job

pytestmark = needs_kubectl
STAGES = (*JOBS, "tune")
BEST = "gs://my-bucket/runs/first/search/best_config.yaml"
LONGEST = "a" * 40


def identity(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def words_of(manifests: list[Manifest], job: str) -> list[str]:
    container = Template(of_kind(manifests, "Job")[job]).container
    fields = {"status.podIP": "10.0.0.1"}
    variables = environment(container, of_kind(manifests, "ConfigMap"), fields)
    return command_line(container, variables)


@pytest.mark.parametrize("stage", ["train", "tune"])
def test_the_run_of_the_overlay_is_a_run_like_others(stage: str) -> None:
    assert rendered_run("first", stage) == rendered(f"gke/{stage}")


def test_jobs_and_pods_tell_their_run() -> None:
    for stage in STAGES:
        for job in of_kind(rendered_run("second", stage), "Job").values():
            assert job["metadata"]["name"].endswith("-second")
            assert job["metadata"]["labels"]["run"] == "second"
            assert Template(job).labels["run"] == "second"


def test_two_runs_share_the_features_and_no_object_that_differs() -> None:
    first, second = (
        {identity(manifest): manifest for stage in STAGES for manifest in rendered_run(run, stage)}
        for run in ("first", "second")
    )
    shared = set(first) & set(second)
    assert {first[name]["kind"] for name in shared} == {
        *("Namespace", "ServiceAccount", "ConfigMap", "NetworkPolicy")
    }
    assert all(first[name] == second[name] for name in shared)
    for run in ("first", "second"):
        words = words_of(rendered_run(run, "train"), "train")
        assert "--data=gs://my-bucket/features" in words
        assert f"--job-dir=gs://my-bucket/runs/{run}/job" in words


def test_workers_of_a_search_find_the_chief_of_their_run() -> None:
    manifests = rendered_run("second", "tune")
    chief = of_kind(manifests, "Service")["tune-chief"]
    pods = {pod.name: pod for pod in templates(manifests)}
    assert chief["spec"]["selector"].items() <= pods["tune-chief"].labels.items()
    first = of_kind(rendered("gke"), "Job")["tune-chief"]
    assert not chief["spec"]["selector"].items() <= Template(first).labels.items()
    variables = environment(
        pods["tune-workers"].container | {"env": pods["tune-workers"].container["env"][-4:]},
        of_kind(manifests, "ConfigMap"),
        {},
    )
    assert variables["KERASTUNER_ORACLE_IP"] == chief["metadata"]["name"] == "tune-chief-second"


def test_hosts_of_a_training_are_those_of_their_run() -> None:
    manifests = rendered_run("--component", "multi-host", "second", "train")
    pod = Template(of_kind(manifests, "Job")["train"])
    service = of_kind(manifests, "Service")["train"]
    assert service["metadata"]["name"] == pod.spec["subdomain"] == "train-second"
    assert service["spec"]["selector"].items() <= pod.labels.items()
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    variables = environment(pod.container, of_kind(manifests, "ConfigMap"), {index: "0"})
    told = json.loads(str(tf_config_of_indexed_job(variables)))
    assert told["cluster"]["worker"] == [f"train-second-{n}.train-second:2222" for n in range(2)]


def test_other_values_and_components() -> None:
    manifests = rendered_run(
        *("--component", "spot", "tuned", "train"),
        *(f"TRAIN_CONFIG={BEST}", "FEATURES=gs://other/features", "ROOT=gs://results"),
    )
    assert words_of(manifests, "train")[3:] == [
        "--data=gs://other/features",
        "--job-dir=gs://results/runs/tuned/job",
        f"--config={BEST}",
    ]
    assert "gke-spot" in json.dumps(of_kind(manifests, "Job"))


def test_components_are_applied_in_an_order_that_loses_none() -> None:
    names = ["multi-host", "spot", "jobset", "kueue"]
    expected, *others = (
        rendered_run(*(word for one in order for word in ("--component", one)), "second", "train")
        for order in (names, names[::-1], ["kueue", "jobset", "multi-host", "spot"])
    )
    assert others == [expected] * 2
    (job_set,) = of_kind(expected, "JobSet").values()
    assert job_set["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "deep-embedded-music"
    assert "gke-spot" in json.dumps(job_set)


@pytest.mark.parametrize("run", ["2026", "2026-11-27", "1e3", "null", "true", LONGEST])
def test_every_name_of_a_run_stays_text_and_is_short_enough(run: str) -> None:
    for manifest in rendered_run("--overlay", "local", run, "tune"):
        assert validate(manifest, "1.36", strict=True) == "1.36"
        assert len(manifest["metadata"]["name"]) <= 63
    jobs = of_kind(rendered_run("--overlay", "local", run, "tune"), "Job")
    assert len(f"{jobs['tune-workers']['metadata']['name']}-99999") <= 63  # the name of its host


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["second"], "RUN and STAGE are needed"),
        (["Second", "train"], "RUN 'Second' is not 1 to 40 lower-case letters"),
        (["a" * 41, "train"], "is not 1 to 40 lower-case letters"),
        (["second-", "train"], "RUN 'second-' is not"),
        (["second", "trian"], "k8s/overlays/gke/trian is not a stage of a run"),
        (["second", "tensorboard"], "k8s/overlays/gke/tensorboard is not a stage of a run"),
        (["second", "../local/train"], "is not a stage of a run"),
        (["--overlay", "aws", "second", "train"], "k8s/overlays/aws/train is not a stage"),
        (["--component", "spots", "second", "train"], "there is no k8s/components/spots"),
        (
            ["--component", "jobset/copy", "second", "train"],
            "there is no k8s/components/jobset/copy",
        ),
        (["--component", "multi-host", "second", "tune"], "multi-host is for the stage train"),
        (["--component", "jobset", "second", "embed"], "jobset is for the stage train"),
        (["--component", "jobset", "second", "train"], "jobset needs multi-host, too"),
        (
            ["--component", "flex-start", "--component", "spot", "second", "train"],
            "spot and flex-start exclude each other",
        ),
        *(
            (["--component", "gcsfuse", *other], "gcsfuse needs ROOT=gs://NAME and FEATURES=")
            for other in (
                ["second", "train", "ROOT=gs://my-bucket/mine"],
                ["second", "train", "FEATURES=gs://other/features"],
                ["second", "train", "FEATURES=gs://my-bucket/a/b"],
                ["--overlay", "local", "second", "train"],
            )
        ),
        (["second", "train", "MARGIN=1"], "'MARGIN=1' is not KEY=VALUE with KEY one of ROOT"),
        (["second", "train", "RUN=third"], "'RUN=third' is not KEY=VALUE"),
        (["second", "train", "ROOT="], "'ROOT=' is not KEY=VALUE"),
        (["second", "train", "ROOT=a\nRUN=b"], "is not KEY=VALUE"),
        (["--spot", "second", "train"], "unknown option --spot"),
        (["--component"], "--component needs a value"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    refused = run_script(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert message in refused.stderr
    assert refused.stdout == ""


def test_no_file_stays_and_none_is_changed() -> None:
    def files() -> dict[str, Any]:
        paths = (path for path in (ROOT / "k8s").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in paths}

    before = files()
    assert run_script("second", "train").returncode == 0
    assert files() == before


def test_the_help_names_every_setting_and_stage() -> None:
    told = run_script("--help").stdout
    for overlay in ("gke", "local"):
        (settings,) = [
            one["data"]
            for name, one in of_kind(rendered(overlay), "ConfigMap").items()
            if name.startswith("locations-")
        ]
        assert all(key in told for key in settings)
    assert all(stage in told for stage in STAGES)
