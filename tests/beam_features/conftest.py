"""Real recordings, real runs of the job, and ways to read what it wrote."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import Strip, decode_strip

_NOBODY = 65534
SONGS = {  # name: seconds, rate
    "dog/1.wav": (2.5, 16_000),
    "dog/40.flac": (0.4, 16_000),  # shorter than a tile
    "dog/3 [live].wav": (1.0, 44_100),
    "dog/4.wav": (70.0, 8_000),  # two strips
    "rain/5.wav": (3.0, 48_000),
    "rain/ü 6.ogg": (3.0, 16_000),
    "rain/7.wav": (2.0, 16_000),
    "rain/heavy/12.wav": (2.0, 16_000),
}


def write_noise(path: Path, seconds: float, rate_hz: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.05, round(seconds * rate_hz))
    soundfile.write(path, samples, rate_hz)


@pytest.fixture(scope="session")
def ffmpeg(tmp_path_factory) -> Iterator[str]:
    """A real ffmpeg, first on the path under that name."""
    program = tmp_path_factory.mktemp("bin") / "ffmpeg"
    program.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{path}"
    yield str(program)
    os.environ["PATH"] = path


@pytest.fixture
def no_ffmpeg(monkeypatch) -> None:
    """Neither an ffmpeg on the path nor the one of imageio-ffmpeg."""
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


@pytest.fixture
def as_nobody(tmp_path) -> Callable[[], AbstractContextManager[None]]:
    """Step down for a moment from root, who may read everything."""

    @contextmanager
    def as_nobody() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        above = [path for path in (tmp_path, *tmp_path.parents) if path.is_relative_to("/tmp")]
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in above}
        for path, mode in modes.items():
            path.chmod(mode | 0o055)
        os.seteuid(_NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
            for path, mode in modes.items():
                path.chmod(mode)

    return as_nobody


@pytest.fixture(scope="session")
def make_songs() -> Callable[[Path], Path]:
    """Write the eight songs below a directory."""

    def make_songs(root: Path) -> Path:
        for seed, (name, (seconds, rate_hz)) in enumerate(SONGS.items()):
            write_noise(root / name, seconds, rate_hz, seed)
        return root

    return make_songs


@pytest.fixture(scope="session")
def songs(make_songs, tmp_path_factory) -> Path:
    """A folder of eight good recordings; not to be changed."""
    return make_songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="session")
def damaged_songs(make_songs, tmp_path_factory) -> Path:
    """The same with two recordings that cannot be used and an empty file; not to be changed."""
    root = make_songs(tmp_path_factory.mktemp("damaged"))
    whole = (root / "rain/7.wav").read_bytes()
    (root / "rain/cut.wav").write_bytes(whole[: len(whole) // 2])
    (root / "dog/empty.wav").touch()
    (root / "dog/words.wav").write_text("these are words")
    return root


@pytest.fixture(scope="session")
def run_job() -> Callable[..., int]:
    """Run the command in this process over a folder into a directory; give its exit code."""

    def run_job(source: object, output: object, *options: str) -> int:
        words = ("--dataset", "folder", "--input", str(source), "--output", str(output))
        return main([*words, "--shards", "2", *options])

    return run_job


@pytest.fixture(scope="session")
def features(songs, run_job, tmp_path_factory) -> Path:
    """What the job makes of `songs`; not to be changed."""
    output = tmp_path_factory.mktemp("features") / "out"
    assert run_job(songs, output) == 0
    return output


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """All files below a directory, by relative name."""

    def contents(root: Path) -> dict[str, bytes]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    return contents


@pytest.fixture(scope="session")
def read_strips() -> Callable[[Path, FeatureSpec], list[Strip]]:
    """Read all strips of a shard through TensorFlow's reader, which checks the checksums."""

    def read_strips(path: Path, spec: FeatureSpec) -> list[Strip]:
        import tensorflow as tf

        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        return [decode_strip(record, spec.tile_shape) for record in records]

    return read_strips
