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

from beam_features.job.options import beam_options
from tests.processes import ROOT

IN_BEAMS_IMAGE = {"apache-beam", "google-cloud-storage", "google-crc32c", "pyarrow"}
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
        for top in ("beam_features", "dem")
        for path in (project / top).rglob("*")
        if path.is_file()
    }
    assert len(expected) > 20
    assert expected <= names
    assert {"pyproject.toml", "setup.py"} <= names


PROGRAM = """
import sys
from beam_features.job.attempt import Attempt, PlannedShard
from beam_features.job.maker import ShardMaker
from beam_features.job.pipeline import WriteShard
from beam_features.job.plan import Shard
from beam_features.recording import Recording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings
song, output = sys.argv[1:]
recording = Recording("1", song, None, "train", "1", "1")
attempt = Attempt.begin(output)
(place,) = attempt.write_plan([PlannedShard(Shard("train", 0, 1, ((recording,),)), {}, {})])
write = WriteShard(ShardMaker(attempt, output, ReadSettings(FeatureSpec())))
write.setup()
print(*write.process(place))
print([name for name in ("tensorflow", "keras", "trainer") if name in sys.modules])
print(sys.modules[WriteShard.__module__].__file__)
"""


def test_worker_runs_from_the_package_without_tensorflow(package, songs, tmp_path):
    """Installed apart, without network; a worker unpickles the step by the name of its class."""
    target = tmp_path / "site"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*pip, "--target", str(target), str(package)], check=True)
    output = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(songs / "dog/1.wav"), str(output)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        "train-00000-of-00001.tfrecord",
        "[]",
        str(target / "beam_features" / "job" / "pipeline.py"),
    ], done.stderr
    assert (output / "train-00000-of-00001.tfrecord").stat().st_size > 2 * 100 * 64 * 2


def pinned(text: str) -> set[str]:
    return {line.split("#")[0].strip() for line in text.splitlines() if re.match(r"\w", line)}


def test_requirements_of_workers_are_those_of_the_feature_job_as_locked():
    requirements = pinned((ROOT / "requirements-worker.txt").read_text())
    assert requirements <= pinned((ROOT / "requirements.lock").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["features"]
    needed = {re.match(r"[\w-]+", line)[0] for line in extra} - IN_BEAMS_IMAGE - FOR_DOWNLOADS
    assert {line.split("==")[0] for line in requirements} == needed
