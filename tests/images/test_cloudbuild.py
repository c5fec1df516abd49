"""cloudbuild.yaml: it is what Cloud Build's API takes, and all that it names exists.

The schema is that of the API's own ``Build`` message, as Google's client library has it. The
scripts of the steps are run, with programs in place of docker, gcloud and kustomize that tell how
they were called.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.devtools.cloudbuild_v1.types import Build
from google.protobuf import json_format

from tests.images.dockerfile import parse_dockerfile
from tests.processes import ROOT

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in CONFIG["steps"]}
DOCKERFILE = parse_dockerfile((ROOT / "Dockerfile").read_text())
BUILT_IN = {"PROJECT_ID", "COMMIT_SHA", "TAG_NAME"}
BUILDERS = {  # documented by Google, kept on its build machines
    "gcr.io/cloud-builders/docker",
    "gcr.io/google.com/cloudsdktool/cloud-sdk",
}
IMAGES = "r-docker.pkg.dev/p/d"
DIGEST = "sha256:" + "ab" * 32
STEP_ENVIRONMENT = {
    "BLOCKING": "CRITICAL",
    "IMAGES": IMAGES,
    "MANIFESTS": "gs://b",
    "REVISION": "c0",
}

PROGRAM = """\
#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$CALLS"
case "$*" in
*"images scan"*) echo scan-1 ;;
*list-vulnerabilities*) printf 'LOW\\n%s\\n' "${FOUND:-LOW}" ;;
*"imagetools inspect"*) echo "DIGEST" ;;
*inspect*) eval "last=\\${$#}"; echo "${last%:*}@DIGEST" ;;
"build ..") echo rendered ;;
esac
""".replace("DIGEST", DIGEST)


def strings(value: object) -> Iterator[str]:
    """All texts in it, without the scripts, in which a shell puts its own variables."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from () if key == "script" else strings(each)


def parse(config: dict[str, Any]) -> Any:
    return json_format.ParseDict(config, Build.pb(Build()))


class Machine:
    """A directory in which steps run one after the other, as in ``/workspace``."""

    def __init__(self, directory: Path) -> None:
        self._calls = directory / "calls"
        self._programs = directory / "bin"
        self.workspace = directory / "workspace"
        for each in (self._programs, self.workspace / "k8s/overlays/gke/settings"):
            each.mkdir(parents=True)
        shutil.copy(ROOT / "Dockerfile", self.workspace)
        for name in ("docker", "gcloud", "kustomize", "sleep"):
            (self._programs / name).write_text(PROGRAM)
            (self._programs / name).chmod(0o755)

    def run(self, step: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = self._programs / f"step-{step}"
        script.write_text(STEPS[step]["script"])
        script.chmod(0o755)
        path = f"{self._programs}:/usr/bin:/bin"
        own = {"PATH": path, "CALLS": str(self._calls), "TAG": ""}
        return subprocess.run(
            [script],
            cwd=self.workspace,
            env=own | STEP_ENVIRONMENT | environment,
            capture_output=True,
            text=True,
        )

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call of a program."""
        return [shlex.split(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_api_takes_it() -> None:
    assert [step.id for step in parse(CONFIG).steps] == list(STEPS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": []},
        {"options": {"machineType": "HUGE"}},
        {"steps": [{"name": "a", "wait_for_it": []}]},
        {"steps": [{"name": "a", "args": "one"}]},
        {"timeout": "an hour"},
    ],
)
def test_the_api_would_not_take_just_anything(wrong: dict[str, Any]) -> None:
    with pytest.raises(json_format.ParseError):
        parse(CONFIG | wrong)


def test_substitutions_are_declared_and_used() -> None:
    used = set(re.findall(r"\$\{?(\w+)", "\n".join(strings(CONFIG))))
    declared = set(CONFIG["substitutions"])
    assert used == declared | BUILT_IN
    assert all(re.fullmatch(r"_[A-Z0-9_]+", name) for name in declared)
    assert {"_PROJECT", "_REGION", "_REPOSITORY"} <= declared


def test_steps_wait_for_steps_before_them() -> None:
    before: set[str] = set()
    for name, step in STEPS.items():
        assert set(step.get("waitFor", [])) <= before, name
        before.add(name)
    assert len(STEPS) == len(CONFIG["steps"])


def test_steps_run_in_googles_builders_or_in_pinned_images() -> None:
    for step in STEPS.values():
        pinned = re.fullmatch(r"[\w./-]+:v[\d.]+@sha256:[0-9a-f]{64}", step["name"])
        assert step["name"] in BUILDERS or pinned, step["name"]


def test_variables_of_the_steps_are_those_that_the_tests_set() -> None:
    names = {line.partition("=")[0] for line in CONFIG["options"]["env"]}
    assert names == {*STEP_ENVIRONMENT, "TAG"}


def test_nothing_is_called_latest() -> None:
    assert ":latest" not in (ROOT / "cloudbuild.yaml").read_text()
    for image in CONFIG["images"]:
        assert image.endswith(":${COMMIT_SHA}")


@pytest.mark.parametrize("target", ["features", "trainer"])
def test_a_target_is_built_with_a_cache_of_all_its_layers(machine: Machine, target: str) -> None:
    assert machine.run(target).returncode == 0
    *_, words = machine.calls
    options = dict(pairwise(words))
    assert options["--target"] == target
    assert options["--tag"] == f"{IMAGES}/{target}:c0"
    assert options["--cache-from"] == f"type=registry,ref={IMAGES}/cache:{target}"
    assert options["--cache-to"] == f"type=registry,ref={IMAGES}/cache:{target},mode=max"
    given = {word.partition("=")[0] for word in words if re.match("[A-Z_]+=", word)}
    taken = {value.partition("=")[0] for value in DOCKERFILE.stages[target].values("ARG")}
    beam = {"BEAM_IMAGE"} if target == "features" else set()
    assert given == {"CREATED", "REVISION", "VERSION"} | beam <= taken


def test_beams_image_is_taken_by_its_digest(machine: Machine) -> None:
    named = DOCKERFILE.arguments["BEAM_IMAGE"].partition("@")[0]
    file = machine.workspace / "Dockerfile"
    pinned = f"{named}@sha256:{'cd' * 32}"
    for written, built in ((named, f"{named}@{DIGEST}"), (pinned, pinned)):
        file.write_text(f"ARG BASE_IMAGE=python\nARG BEAM_IMAGE={written}\n")
        assert machine.run("features").returncode == 0
        assert f"BEAM_IMAGE={built}" in machine.calls[-1]


def test_targets_and_paths_exist(machine: Machine) -> None:
    for step in STEPS.values():
        for target in re.findall(r"--target (\S+)", step["script"]):
            assert target in DOCKERFILE.stages
        for directory in re.findall(r"^\s*cd (\S+)", step["script"], flags=re.M):
            if (ROOT / "k8s").exists():
                assert (ROOT / directory / "kustomization.yaml").exists(), directory


def test_without_a_commit_nothing_begins(machine: Machine) -> None:
    refused = machine.run("builder", REVISION="")
    assert refused.returncode != 0
    assert "--substitutions=COMMIT_SHA" in refused.stderr


def test_the_tests_are_those_of_the_readme(machine: Machine) -> None:
    assert machine.run("test").returncode == 0
    built, tested = machine.calls
    assert built[built.index("--target") + 1] == "test"
    assert tested[-3:] == ["make", "test", "TEST_PROCESSES=8"]
    assert DOCKERFILE.value("test", "CMD") == '["make", "test"]'


def test_the_pipeline_runs_in_the_images_with_a_read_only_root(machine: Machine) -> None:
    assert machine.run("pipeline").returncode == 0
    runs = [words for words in machine.calls if "-m" in words]
    modules = [words[words.index("-m") + 1] for words in runs]
    assert modules == [
        *("beam_features", "trainer.train", "trainer.classify"),
        *("trainer.embed", "similarity.commands.index", "trainer.report"),
    ]
    for words in runs:
        assert {"--read-only", "--tmpfs"} <= set(words)
        target = "features" if "beam_features" in words else "trainer"
        assert f"{IMAGES}/{target}:c0" in words


def test_a_finding_stops_the_push(machine: Machine) -> None:
    assert machine.run("scan").returncode == 0
    refused = machine.run("scan", FOUND="CRITICAL")
    assert refused.returncode == 1
    assert "nothing is pushed" in refused.stderr
    assert "scan" in STEPS["push"]["waitFor"]


def test_images_are_pushed_by_commit_and_listed_by_digest(machine: Machine) -> None:
    assert machine.run("push").returncode == 0
    pushed = [words[-1] for words in machine.calls if words[1] == "push"]
    assert pushed == [f"{IMAGES}/features:c0", f"{IMAGES}/trainer:c0"]
    assert machine.run("push", TAG="v1").returncode == 0
    pushed = [words[-1] for words in machine.calls if words[1] == "push"]
    assert pushed[2:] == [
        f"{IMAGES}/{target}:{version}"
        for target in ("features", "trainer")
        for version in ("c0", "v1")
    ]
    assert machine.run("sbom").returncode == 0
    listed = [words[-1] for words in machine.calls if "sbom" in words]
    assert listed == [f"{IMAGES}/features@{DIGEST}", f"{IMAGES}/trainer@{DIGEST}"]


def test_a_tag_renders_the_manifests_with_the_digests(machine: Machine) -> None:
    assert machine.run("push").returncode == 0
    finished = machine.run("manifests", TAG="v1")
    assert finished.returncode == 0, finished.stderr
    edited = next(words for words in machine.calls if words[:2] == ["kustomize", "edit"])
    assert edited[4:] == [
        f"features={IMAGES}/features@{DIGEST}",
        f"trainer={IMAGES}/trainer@{DIGEST}",
    ]
    assert (machine.workspace / "manifests.yaml").read_text() == "rendered\n"
    assert machine.run("release", TAG="v1").returncode == 0
    assert machine.calls[-1][-2:] == ["manifests.yaml", "gs://b/v1.yaml"]


def test_without_a_tag_nothing_is_rendered(machine: Machine) -> None:
    assert machine.run("manifests").returncode == 0
    assert machine.run("release").returncode == 0
    assert not (machine.workspace / "manifests.yaml").exists()
