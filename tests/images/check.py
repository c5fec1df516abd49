"""``python -m tests.images.check``: build the images for real, and run the pipeline in them.

Needs root, buildah, and debootstrap where the registries of the base images cannot be reached.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.images import stand_ins
from tests.images.buildah import Buildah
from tests.images.container import VOLUME, Container
from tests.images.dockerfile import parse_dockerfile
from tests.processes import ROOT
from tests.test_commands import COMMANDS

USER_ID = 10001
_FEATURES, _JOB = f"{VOLUME}/features", f"{VOLUME}/job"
_VECTORS, _INDEX = f"{VOLUME}/vectors", f"{VOLUME}/index"
_SMALL = ("encoder=dense", "embedding_size=8", "batch_size=16", "epochs=1", "steps_per_epoch=5")

# Debian's scratch space; under a read-only root not even that is open. By modes, since `-writable`
# would only tell that the root is read-only.
_SCRATCH = ("/tmp", "/var/tmp", "/run/lock")
_OPEN = f"find / -xdev ! -type l '(' -perm -o+w -o -user {USER_ID} ')' " + " ".join(
    f"! -path '{place}*'" for place in (*_SCRATCH, VOLUME)
)
_COMPILERS = "for tool in cc gcc g++ clang ld make cmake go rustc; do command -v $tool; done; true"


class Checks:
    """Commands in a container that must end as expected."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def succeeds(self, *words: str) -> str:
        """Run a command that must exit 0; return what it printed."""
        return self._run(0, *words)

    def refuses(self, *words: str, **environment: str) -> str:
        """Run a command that must exit 2; return what it complained of."""
        return self._run(2, *words, **environment)

    def prints_nothing(self, what: str, script: str) -> None:
        """Run a script that lists what must not be there."""
        found = self._container.run("sh", "-c", script).stdout.strip()
        _require(not found, f"{what}: {found}")

    def _run(self, code: int, *words: str, **environment: str) -> str:
        begin = time.monotonic()
        finished = self._container.run(*words, **environment)
        print(f"  exit {finished.returncode}  {time.monotonic() - begin:5.1f} s  {' '.join(words)}")
        _require(finished.returncode == code, finished.stdout + finished.stderr)
        return finished.stdout if code == 0 else finished.stderr


def main() -> None:
    """Build both targets, check both, print their sizes."""
    parser = argparse.ArgumentParser(prog="python -m tests.images.check", description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "images")
    parser.add_argument("--stand-ins", action="store_true", help="do not even ask for the bases")
    parser.add_argument("--gpu", action="store_true", help="the trainer with CUDA, as it is pushed")
    parsed = parser.parse_args()
    _require(os.geteuid() == 0, "building and mounting need root")
    _require_program("buildah")
    directory = parsed.work_dir.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    buildah = Buildah(directory)
    arguments = _base_arguments(buildah, directory, stand_ins_only=parsed.stand_ins)
    if not parsed.gpu:
        arguments["TRAINER_EXTRAS"] = "train"
    volume = directory / "volume"
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir()
    os.chown(volume, USER_ID, USER_ID)
    sizes = {}
    for target, check in (("features", check_features), ("trainer", check_trainer)):
        with _built(buildah, target, arguments, volume) as container:
            check(Checks(container))
            sizes[target] = buildah.size_mib(container.image.name)
    for target, mib in sizes.items():
        print(f"{target}: {mib:.0f} MiB")


def check_features(checks: Checks) -> None:
    """The feature job runs, and what a runner would start is there."""
    _check_image(checks, prefixes=("beam_features",))
    checks.succeeds("python", "-c", "import apache_beam.runners.worker.sdk_worker_main")
    checks.succeeds("test", "-x", "/opt/apache/beam/boot")
    checks.succeeds("ffmpeg", "-version")
    options = ("--dataset", "sample", "--output", _FEATURES, "--direct_num_workers=0")
    checks.succeeds("python", "-m", "beam_features", *options)


def check_trainer(checks: Checks) -> None:
    """All stages run on what the other image left in the volume."""
    _check_image(checks, prefixes=("trainer", "tuning", "similarity"))
    checks.succeeds("tensorboard", "--version")
    run = ("--data", _FEATURES, "--job-dir", _JOB)
    said = checks.refuses("python", "-m", "trainer.train", *run, DEM_REQUIRED_GPUS="1")
    _require("DEM_REQUIRED_GPUS=1" in said, said)
    checks.succeeds("python", "-m", "trainer.train", *run, "--set", *_SMALL)
    print(checks.succeeds("python", "-m", "trainer.classify", *run, "--encoder", "trained"))
    vectors = ("--data", _FEATURES, "--output", _VECTORS)
    checks.succeeds("python", "-m", "trainer.embed", "--model", _JOB, *vectors)
    checks.succeeds("python", "-m", "similarity.commands.index", _VECTORS, "--output", _INDEX)
    checks.succeeds("dem", "map", "--index", _INDEX, "--output", f"{_INDEX}/map.html")
    checks.succeeds("python", "-m", "trainer.report", *run)


def _check_image(checks: Checks, prefixes: tuple[str, ...]) -> None:
    _require(checks.succeeds("id", "-u").strip() == str(USER_ID), "it runs as another user")
    checks.prints_nothing("writable outside of the scratch space", _OPEN)
    checks.prints_nothing("build tools", _COMPILERS)
    checks.succeeds("pip", "check")
    for command in COMMANDS:
        if command.split(".")[0] in prefixes:
            printed = checks.succeeds("python", "-m", command, "--help")
            _require(printed.startswith(f"usage: python -m {command} "), printed)
    _require(checks.succeeds("dem", "--version").startswith("dem "), "it has the command dem")


def _base_arguments(buildah: Buildah, directory: Path, *, stand_ins_only: bool) -> dict[str, str]:
    """Build arguments for what cannot be pulled."""
    defaults = parse_dockerfile((ROOT / "Dockerfile").read_text()).arguments
    builders = {"BASE_IMAGE": stand_ins.build_base, "BEAM_IMAGE": stand_ins.build_beam}
    arguments = {}
    for name, build in builders.items():
        if stand_ins_only or not buildah.can_pull(defaults[name]):
            print(f"{name}: {defaults[name]} cannot be pulled, so a stand-in takes its place")
            _require_program("debootstrap")
            arguments[name] = build(buildah, directory)
    return arguments


@contextmanager
def _built(
    buildah: Buildah, target: str, arguments: dict[str, str], volume: Path
) -> Iterator[Container]:
    begin = time.monotonic()
    name = f"localhost/{target}:check"
    image = buildah.build(name, ROOT, ROOT / "Dockerfile", target=target, arguments=arguments)
    print(f"{target}: built in {time.monotonic() - begin:.0f} s", flush=True)
    container, root = buildah.unpack(image)
    try:
        yield Container(image, root, volume)
    finally:
        buildah.remove(container)


def _require_program(name: str) -> None:
    _require(shutil.which(name) is not None, f"there is no {name}: apt-get install {name}")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise SystemExit(f"error: {otherwise}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}")
