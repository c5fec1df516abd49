"""What Beam installs on workers from ``--setup_file`` and ``--requirements_file``."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from apache_beam.runners.portability.stager import Stager

from beam_features.job.runners import beam_options
from tests.processes import ROOT

IN_BEAMS_IMAGE = {"apache-beam", "google-cloud-storage", "google-crc32c"}
FOR_DOWNLOADS = {"pooch", "requests"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what packages are made of, since a build writes beside it."""
    root = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    for name in ("beam_features", "dem", "trainer", "tuning"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def package(project, tmp_path_factory) -> Path:
    """What Beam stages of the setup file named without a directory; it uses no network."""
    directory = Path.cwd()
    try:
        os.chdir(project)
        options = beam_options(["--runner=FlinkRunner", "--setup_file=setup.py"])
        staged = tmp_path_factory.mktemp("staged")
        resources = Stager.create_job_resources(
            options, str(staged), log_submission_env_dependencies=False
        )
    finally:
        os.chdir(directory)
    ((source, name, _),) = Stager.extract_staging_tuple_iter(resources)
    assert name == "workflow.tar.gz"
    return Path(source)


def test_package_holds_all_modules(package, project):
    with tarfile.open(package) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    expected = {
        path.relative_to(project).as_posix()
        for path in (project / "beam_features").rglob("*")
        if path.is_file()
    }
    assert len(expected) > 20
    assert expected <= names
    assert {"pyproject.toml", "setup.py"} <= names


def test_package_installs_and_workers_find_the_code_in_it(package, tmp_path):
    """Installed apart, without network; a worker unpickles the step by the name of its class."""
    target = tmp_path / "site"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*pip, "--target", str(target), str(package)], check=True)
    code = "from beam_features.job.pipeline import WriteShard as w; import sys; \
            print(sys.modules[w.__module__].__file__)"
    found = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        text=True,
    )
    assert found.strip() == str(target / "beam_features" / "job" / "pipeline.py")


def pinned(text: str) -> set[str]:
    return {line.split("#")[0].strip() for line in text.splitlines() if re.match(r"\w", line)}


def test_requirements_of_workers_are_those_of_the_feature_job_as_locked():
    requirements = pinned((ROOT / "requirements-worker.txt").read_text())
    assert requirements <= pinned((ROOT / "requirements.lock").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["features"]
    needed = {re.match(r"[\w-]+", line)[0] for line in extra} - IN_BEAMS_IMAGE - FOR_DOWNLOADS
    assert {line.split("==")[0] for line in requirements} == needed
