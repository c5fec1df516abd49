"""Seconds of a rerun of the feature job after a library has changed, relative to its first run.

``python -m benchmarks.rerun [--files 2000] [--seconds 3]`` makes a library of WAV, FLAC, Ogg and
MP3 files in several directories and runs the job: for the first time, again, after one file was
added, changed and removed, and afresh. It fails unless the tiles are those of the fresh run and the
shards that stay are the same files.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from beam_features.job.tfrecord import read_records
from beam_features.schema.dataset_info import DATASET_INFO, parse_dataset_info
from beam_features.schema.strip import decode_strip

WORKERS = 2
FORMATS = (("wav", 44_100), ("flac", 44_100), ("ogg", 22_050), ("mp3", 44_100))
ALBUMS = 50


def write_song(path: Path, seconds: float, rate_hz: int, seed: int) -> None:
    """Write noise in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.05, round(seconds * rate_hz))
    soundfile.write(path, samples, rate_hz)


def make_library(root: Path, files: int, seconds: float) -> list[Path]:
    """Write a library of mixed formats; return its files."""
    paths = []
    for index in range(files):
        suffix, rate_hz = FORMATS[index % len(FORMATS)]
        path = root / f"Artist {index % 10}" / f"Album {index % ALBUMS}" / f"{index:04d}.{suffix}"
        write_song(path, seconds, rate_hz, seed=index)
        paths.append(path)
    return paths


def run_job(library: Path, output: Path) -> tuple[float, str]:
    """Run the command; return its seconds, start included, and what it said first."""
    words = ["--dataset", "folder", "--input", str(library), "--output", str(output)]
    command = [sys.executable, "-m", "beam_features", *words, f"--direct_num_workers={WORKERS}"]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own command
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - begin, done.stderr.splitlines()[0].split(" ", 1)[1]


def tiles_in(output: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield recording, start in ms, label and digest of each tile."""
    info = parse_dataset_info((output / DATASET_INFO).read_text(), DATASET_INFO)
    for name in (name for part in info.partitions.values() for name in part.shard_names()):
        with (output / name).open("rb") as file:
            for record in read_records(file):
                strip = decode_strip(record, info.feature_spec.tile_shape)
                columns = (strip.log_mel, strip.recording_ids, strip.start_ms, strip.labels)
                for tile, recording, start_ms, label in zip(*columns, strict=True):
                    digest = hashlib.sha256(tile.tobytes()).hexdigest()
                    yield recording, start_ms, info.label_names[label], digest


def shards_in(output: Path) -> dict[str, str]:
    """Digest of each shard by name."""
    paths = output.glob("*.tfrecord")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def check_same(output: Path, fresh: Path) -> int:
    """Fail unless two directories hold the same tiles; return how many."""
    ours, theirs = sorted(tiles_in(output)), sorted(tiles_in(fresh))
    if ours != theirs:
        raise SystemExit(f"{output} and {fresh} hold different tiles")
    return len(ours)


def measure(root: Path, files: int, seconds: float) -> None:
    """Run the job in all cases and print a line for each."""
    library, output = root / "library", root / "features"
    paths = make_library(library, files, seconds)
    first_s, _ = run_job(library, output)
    print(f"{'run':<16}{'seconds':>9}{'of the first':>14}{'kept shards':>13}  said")
    print(f"{'first':<16}{first_s:>9.1f}{1:>14.2f}{'':>13}", flush=True)

    def again(name: str) -> None:
        before = shards_in(output)
        rerun_s, said = run_job(library, output)
        after = shards_in(output)
        kept = sum(before.get(shard) == digest for shard, digest in after.items())
        line = f"{name:<16}{rerun_s:>9.1f}{rerun_s / first_s:>14.2f}{kept:>8} of {len(after)}"
        print(f"{line}  {said}", flush=True)

    again("nothing changed")
    write_song(library / "Artist 3" / "new.wav", seconds, 44_100, seed=files)
    again("one added")
    write_song(paths[5], seconds, FORMATS[5 % len(FORMATS)][1], seed=files + 1)
    again("one changed")
    paths[9].unlink()
    again("one removed")
    fresh_s, _ = run_job(library, root / "fresh")
    tiles = check_same(output, root / "fresh")
    print(f"{'fresh':<16}{fresh_s:>9.1f}{fresh_s / first_s:>14.2f}")
    print(f"the {tiles} tiles are those of the fresh run")


def main() -> None:
    """Parse the arguments and measure in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        measure(Path(root), arguments.files, arguments.seconds)


if __name__ == "__main__":
    main()
