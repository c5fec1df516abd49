"""k8s/setup.sh with a stand-in for gcloud, in which a project can be empty, complete or between."""

import copy
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.k8s import gcloud
from tests.k8s.cloud import BUCKET, PROJECT, REGION, Cloud
from tests.processes import ROOT

BUILDS = f"serviceAccount:dem-builds@{PROJECT}.iam.gserviceaccount.com"
NODES = f"serviceAccount:dem-nodes@{PROJECT}.iam.gserviceaccount.com"
IDENTITY = (
    "principal://iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/"
    f"{PROJECT}.svc.id.goog/subject/ns/deep-embedded-music/sa"
)
LOOKS = ("list", "describe", "get-iam-policy")


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The project after the script has run."""
    cloud = Cloud(tmp_path_factory.mktemp("complete"))
    finished = cloud.set_up()
    assert finished.returncode == 0, finished.stderr
    assert "18 things were missing; all are there\n" in finished.stdout
    assert "create secret generic search-token" in finished.stdout
    return cloud.read()


def changes(state: dict[str, Any]) -> list[list[str]]:
    """The calls that change something in the project."""
    return [
        call
        for call in state["calls"]
        if not set(LOOKS) & set(call) and "get-credentials" not in call
    ]


def without_calls(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "calls"}


def test_an_empty_project_gets_all_that_builds_and_jobs_need(complete: dict[str, Any]) -> None:
    state = complete
    assert state["apis"] == [
        f"{api}.googleapis.com"
        for api in (
            *("artifactregistry", "cloudbuild", "cloudresourcemanager", "compute", "container"),
            *("containeranalysis", "containerscanning", "iam", "ondemandscanning", "storage"),
        )
    ]
    assert (state["buckets"], state["repositories"]) == ([BUCKET], ["deep-embedded-music"])
    assert list(state["clusters"]) == ["dem"]
    assert state["policies"] == {
        "project": [
            ["roles/artifactregistry.writer", BUILDS],
            ["roles/containeranalysis.admin", BUILDS],
            ["roles/logging.logWriter", BUILDS],
            ["roles/ondemandscanning.admin", BUILDS],
            ["roles/storage.admin", BUILDS],
            ["roles/container.defaultNodeServiceAccount", NODES],
        ],
        "repositories/deep-embedded-music": [["roles/artifactregistry.reader", NODES]],
        f"buckets/{BUCKET}": [
            ["roles/storage.objectUser", f"{IDENTITY}/features"],
            ["roles/storage.legacyBucketReader", f"{IDENTITY}/features"],
            ["roles/storage.objectUser", f"{IDENTITY}/trainer"],
            ["roles/storage.legacyBucketReader", f"{IDENTITY}/trainer"],
            ["roles/storage.objectViewer", f"{IDENTITY}/tensorboard"],
        ],
    }
    assert state["calls"][-1][:4] == ["container", "clusters", "get-credentials", "dem"]


def test_a_second_time_nothing_is_changed(cloud: Cloud, complete: dict[str, Any]) -> None:
    cloud.write(complete | {"calls": []})
    finished = cloud.set_up()
    assert finished.returncode == 0, finished.stderr
    assert "\n0 things were missing; all are there\n" in finished.stdout
    assert "missing  " not in finished.stdout
    after = cloud.read()
    assert without_calls(after) == without_calls(complete)
    assert changes(after) == []


def test_a_dry_run_prints_the_commands_and_changes_nothing(
    cloud: Cloud, complete: dict[str, Any]
) -> None:
    before = cloud.read()
    told = cloud.set_up("--dry-run")
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("18 things are missing; nothing was changed\n")
    assert without_calls(cloud.read()) == without_calls(before)
    assert changes(cloud.read()) == []
    cloud.run_printed(told.stdout)
    assert without_calls(cloud.read()) == without_calls(complete)


def test_only_what_is_missing_is_made(cloud: Cloud, complete: dict[str, Any]) -> None:
    state = copy.deepcopy(complete)
    state["apis"].remove("containerscanning.googleapis.com")
    state["policies"]["project"].remove(["roles/storage.admin", BUILDS])
    state["policies"][f"buckets/{BUCKET}"].pop()
    cloud.write(state | {"calls": []})
    told = cloud.set_up("--dry-run").stdout
    assert [line for line in told.splitlines() if line.startswith("missing")] == [
        "missing  1 of 10 APIs",
        f"missing  roles/storage.admin on project {PROJECT} for {BUILDS.partition(':')[2]}",
        f"missing  roles/storage.objectViewer on bucket {BUCKET} for tensorboard",
    ]
    finished = cloud.set_up()
    assert finished.returncode == 0, finished.stderr
    assert len(changes(cloud.read())) == 3
    assert sorted(cloud.read()["policies"]["project"]) == sorted(complete["policies"]["project"])


def test_nodes_of_a_cluster_that_exists_may_read_the_images(cloud: Cloud) -> None:
    pool = f"{PROJECT}.svc.id.goog"
    other = {"workloadIdentityConfig.workloadPool": pool, "nodeConfig.serviceAccount": "default"}
    cloud.change(clusters={"dem": other}, apis=["container.googleapis.com"])
    assert cloud.set_up().returncode == 0
    assert cloud.read()["policies"]["repositories/deep-embedded-music"] == [
        [
            "roles/artifactregistry.reader",
            "serviceAccount:123456789-compute@developer.gserviceaccount.com",
        ]
    ]


def test_a_cluster_without_workload_identity_is_refused(cloud: Cloud) -> None:
    other = {"workloadIdentityConfig.workloadPool": "", "nodeConfig.serviceAccount": "default"}
    cloud.change(clusters={"dem": other})
    finished = cloud.set_up()
    assert finished.returncode == 2
    assert f"--workload-pool {PROJECT}.svc.id.goog" in finished.stderr
    assert f"buckets/{BUCKET}" not in cloud.read()["policies"]


def test_what_gcloud_refuses_ends_it(cloud: Cloud) -> None:
    cloud.change(hesitant=0, project="other-project")
    finished = cloud.set_up()
    assert finished.returncode == 1
    assert f"no permission on the project ['{PROJECT}']" in finished.stderr


@pytest.mark.parametrize("command", ["services list", "buckets list", "projects get-iam-policy"])
def test_what_cannot_be_seen_is_not_taken_for_missing(
    cloud: Cloud, complete: dict[str, Any], command: str
) -> None:
    cloud.write(complete | {"calls": []})
    cloud.break_gcloud(command)
    assert cloud.set_up().returncode == 1
    assert changes(cloud.read()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"account": ""}, "error: gcloud has no account: gcloud auth login"),
        ({"billing": "False"}, f"error: {PROJECT} has no billing account"),
    ],
)
def test_what_only_a_person_can_do_is_named(
    cloud: Cloud, changed: dict[str, object], message: str
) -> None:
    cloud.change(**changed)
    finished = cloud.set_up()
    assert finished.returncode == 2
    assert message in finished.stderr
    assert changes(cloud.read()) == []


def test_a_missing_quota_or_tool_is_a_warning(cloud: Cloud) -> None:
    cloud.change(quotas={"CPUS": 24})
    cloud.remove_program("gke-gcloud-auth-plugin")
    finished = cloud.set_up()
    assert finished.returncode == 0
    assert f"there is no quota of NVIDIA_L4_GPUS in {REGION}" in finished.stderr
    if shutil.which("gke-gcloud-auth-plugin", path="/usr/bin:/bin") is None:
        assert "gke-gcloud-auth-plugin is not installed" in finished.stderr


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (["--dryrun"], {}, "error: unknown arguments --dryrun"),
        ([], {"PROJECT": ""}, "error: PROJECT='' is not the id of a project"),
        ([], {"BUCKET": "gs://my-bucket"}, "error: BUCKET='gs://my-bucket' is not the name"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    cloud: Cloud, options: list[str], variables: dict[str, str], message: str
) -> None:
    finished = cloud.set_up(*options, **variables)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert cloud.read()["calls"] == []


@pytest.mark.parametrize(
    "words",
    [
        ["storage", "bucket", "list"],
        ["storage", "buckets", "create", "gs://b", "--regoin", "x"],
        ["storage", "buckets", "create"],
        ["container", "clusters", "create-auto", "dem", "--location"],
        ["builds", "submit", "--region", "r"],
    ],
)
def test_the_stand_in_refuses_what_gcloud_would(cloud: Cloud, words: list[str]) -> None:
    finished = subprocess.run(["gcloud", *words], env=cloud.environment, capture_output=True)
    assert finished.returncode == 2


def test_the_stand_in_knows_only_what_gcloud_knows() -> None:
    tree = completions().STATIC_COMPLETION_CLI_TREE
    for name, command in gcloud.COMMANDS.items():
        node = tree
        for word in name.split():
            node = node["commands"][word]
        options = {*command.options, *command.switches}
        assert options <= set(node["flags"]), name
    assert set(gcloud.GLOBAL) <= set(tree["flags"])


def completions() -> ModuleType:
    """The tables of commands and options that an installed gcloud completes words with."""
    program = shutil.which("gcloud")
    file = Path(os.path.realpath(program or "")).parent.parent / "data/cli/gcloud_completions.py"
    spec = importlib.util.spec_from_file_location("gcloud_completions", file)
    if spec is None or spec.loader is None or not file.exists():
        pytest.skip("gcloud is not installed")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPTS = [*sorted((ROOT / "k8s").glob("*.sh")), ROOT / ".ci/run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_shellcheck_has_nothing_to_say(script: Path) -> None:
    assert os.access(script, os.X_OK)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    finished = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout
