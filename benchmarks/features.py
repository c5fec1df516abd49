"""Speed of the feature job, relative to its own steps and to a plain librosa script.

All ratios are from one run on one set of files:
``python -m benchmarks.features [--input DIR] [--repeat N]``.

* floor: the sum of decode, resample and log-mel, each measured alone on one core;
* script: a plain script with librosa (load, melspectrogram, log, save, file by file), on one core
  and in a pool of two processes;
* job: ``python -m beam_features`` with one worker and with two, also of Dask, including start and
  writing;
* formats: a recording to its tiles, by format, in seconds of one core.

All of it is repeated with a corpus ``--repeat`` times as large, to see whether the cost of an hour
of audio and the memory stay constant.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import librosa
import numpy as np
import psutil
import soundfile
import soxr

from beam_features.datasets import sample
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from beam_features.schema.audio.log_mel import log_mel
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import Heard, ReadSettings, read_tiles
from benchmarks.reference import librosa_log_mel

SPEC = FeatureSpec()
WORKERS = 2
T = TypeVar("T")
_FORMATS = {  # rate in Hz, channels, suffix
    "wav, 16 kHz, 1 channel": (16_000, 1, "wav"),
    "wav, 16 kHz, 4 channels": (16_000, 4, "wav"),
    "wav, 44.1 kHz, 2 channels": (44_100, 2, "wav"),
    "flac, 44.1 kHz, 2 channels": (44_100, 2, "flac"),
    "ogg, 44.1 kHz, 1 channel": (44_100, 1, "ogg"),
    "ogg, 44.1 kHz, 2 channels": (44_100, 2, "ogg"),
    "mp3, 44.1 kHz, 2 channels": (44_100, 2, "mp3"),
}
_FORMAT_S = 60
_SAMPLE_S = 0.1
_STEP_FILES = 60  # enough files to time a step


@dataclass(frozen=True)
class Cost:
    """Seconds, memory of the largest process in MiB, seconds until the first shard is begun."""

    seconds: float
    peak_mib: float = 0.0
    start_s: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--input", type=Path, help="directory of audio (default: the sample songs)")
    parser.add_argument("--repeat", type=int, default=1, help="how often the corpus is copied")
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        source = known.input or write_sample_songs(Path(home) / "songs")
        files = audio_files(source)
        hours = sum(soundfile.info(file).duration for file in files) / 3600
        floor = measure_steps(files)
        compare_formats(Path(home))
        for repeat in sorted({1, known.repeat}):
            corpus = copies(files, source, Path(home) / f"x{repeat}", repeat)
            print(f"\n{len(files) * repeat} files, {hours * repeat:.2f} h of audio")
            compare(corpus, hours * repeat, floor, Path(home))


def write_sample_songs(folder: Path) -> Path:
    """Write the embedded corpus as Ogg Vorbis at 44.1 kHz."""
    folder.mkdir()
    for recording in sample.list_recordings("sample:0").recordings:
        samples = soxr.resample(sample.synthesise(recording.uri), sample.SAMPLE_RATE_HZ, 44_100)
        name = recording.uri.removeprefix("sample:").replace("/", "-")
        soundfile.write(folder / f"{name}.ogg", samples, 44_100)
    return folder


def audio_files(folder: Path) -> list[Path]:
    """Return the files below `folder` with an audio suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)


def copies(files: Sequence[Path], source: Path, target: Path, repeat: int) -> Path:
    """Copy the corpus `repeat` times."""
    for index in range(repeat):
        for file in files:
            copy = target / f"{index:03d}" / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    return target


def measure_steps(files: Sequence[Path]) -> float:
    """Print the speed of each step on one core, times real time; return that of their sum."""
    with one_core(), pool_of(1) as pool:
        costs = pool.submit(step_costs, [str(file) for file in files]).result()
    print("step on one core, times real time")
    for name, cost in costs.items():
        print(f"  {name:<42}{1 / cost:>8.0f}")
    floor = 1 / (costs["decode"] + costs["resample"] + costs["log-mel"])
    print(f"  {'floor: decode + resample + log-mel':<42}{floor:>8.0f}")
    return floor


def step_costs(files: Sequence[str]) -> dict[str, float]:
    """Seconds that each step takes per second of audio, over some of the files."""
    chosen = files[:: max(1, len(files) // _STEP_FILES)]
    decoded, decode_s = timed(lambda: [soundfile.read(f, dtype="float32") for f in chosen])
    duration_s = sum(len(samples) / rate for samples, rate in decoded)
    mono = [(samples.reshape(len(samples), -1).mean(axis=1), rate) for samples, rate in decoded]

    def resample_all() -> list[np.ndarray]:
        return [
            x if rate == SPEC.sample_rate_hz else soxr.resample(x, rate, SPEC.sample_rate_hz, "HQ")
            for x, rate in mono
        ]

    resampled, resample_s = timed(resample_all)
    log_mel(resampled[0], SPEC)  # the mel matrix is made once
    _, ours_s = timed(lambda: [log_mel(x, SPEC) for x in resampled])
    librosa_log_mel(resampled[0], SPEC)
    _, librosa_s = timed(lambda: [librosa_log_mel(x, SPEC) for x in resampled])
    seconds = {
        "decode": decode_s,
        "resample": max(resample_s, 1e-9),
        "log-mel": ours_s,
        "log-mel of librosa, for comparison": librosa_s,
    }
    return {name: value / duration_s for name, value in seconds.items()}


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """Result and seconds."""
    begin = time.perf_counter()
    result = run()
    return result, time.perf_counter() - begin


def compare_formats(home: Path) -> None:
    """Print the speed from a recording of noise to tiles, times real time, by format."""
    print("recording to tiles on one core, times real time")
    for name, (rate_hz, n_channels, suffix) in _FORMATS.items():
        path = home / f"noise.{suffix}"
        rng = np.random.default_rng(0)
        with soundfile.SoundFile(path, "w", rate_hz, n_channels) as file:
            for _ in range(_FORMAT_S):  # libsndfile's Vorbis encoder crashes on one long block
                file.write(rng.normal(0, 0.1, (rate_hz, n_channels)))
        with one_core(), pool_of(1) as pool:
            seconds = pool.submit(tiles_cost, str(path)).result()
        print(f"  {name:<42}{_FORMAT_S / seconds:>8.0f}")
        path.unlink()


def tiles_cost(file: str) -> float:
    """Seconds of processor time to read a file's tiles, the best of three times."""
    best = math.inf
    for _ in range(3):
        begin = time.process_time()
        for _ in read_tiles(file, ReadSettings(SPEC), Heard()):
            pass
        best = min(best, time.process_time() - begin)
    return best


def compare(corpus: Path, hours: float, floor: float, home: Path) -> None:
    """Print a line per method."""
    files = [str(file) for file in audio_files(corpus)]
    costs = {
        "librosa script, one core": script(files, home, 1),
        f"librosa script, pool of {WORKERS}": script(files, home, WORKERS),
        "job, 1 worker": job(corpus, home, 1),
        f"job, {WORKERS} workers": job(corpus, home, WORKERS),
        f"job, {WORKERS} workers of Dask": job(corpus, home, WORKERS, "--runner=dask"),
    }
    columns = f"{'x real time':>12}{'of floor':>10}{'s per hour':>12}{'peak MiB':>10}{'start s':>9}"
    print(f"{'':<30}{columns}")
    for name, cost in costs.items():
        speed = hours * 3600 / cost.seconds
        line = f"{name:<30}{speed:>12.0f}{speed / floor:>10.2f}{cost.seconds / hours:>12.1f}"
        print(line + (f"{cost.peak_mib:>10.0f}{cost.start_s:>9.1f}" if cost.peak_mib else ""))
    pool, two = (list(costs.values())[index].seconds for index in (1, 3))
    speed = hours * 3600 / two
    print(
        f"job with {WORKERS} workers: {speed / (WORKERS * floor):.0%} of {WORKERS} x floor, "
        f"{pool / two:.2f} times as fast as the pool"
    )


def script(files: Sequence[str], home: Path, processes: int) -> Cost:
    """Time a plain script, including the import of librosa."""
    target = Path(tempfile.mkdtemp(dir=home))
    begin = time.perf_counter()
    with one_core() if processes == 1 else nullcontext(), pool_of(processes) as pool:
        list(pool.map(librosa_script, files, [str(target)] * len(files), chunksize=8))
    seconds = time.perf_counter() - begin
    shutil.rmtree(target)
    return Cost(seconds)


def librosa_script(file: str, target: str) -> None:
    """Load one file, compute its log-mel and save it."""
    samples, _ = librosa.load(file, sr=SPEC.sample_rate_hz, res_type="soxr_hq")
    frames = librosa_log_mel(samples, SPEC).astype(np.float16)
    np.save(Path(target) / file.replace("/", "_"), frames)


def job(corpus: Path, home: Path, workers: int, *options: str) -> Cost:
    """Time the command, including all processes that it starts."""
    output = Path(tempfile.mkdtemp(dir=home))
    words = ["--dataset", "folder", "--input", str(corpus), "--output", str(output / "features")]
    command = [sys.executable, "-m", "beam_features"]
    begin = time.perf_counter()
    with one_core() if workers == 1 else nullcontext():
        process = psutil.Popen(
            [*command, *words, f"--direct_num_workers={workers}", *options],
            stdout=subprocess.DEVNULL,
        )
        peak, start_s = 0, 0.0
        while process.poll() is None:
            peak = max(peak, largest(process))
            if not start_s and any(output.glob("features/incomplete/run-*/*/*.tmp")):
                start_s = time.perf_counter() - begin
            time.sleep(_SAMPLE_S)
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"the job failed, exit code {process.returncode}")
    shutil.rmtree(output)
    return Cost(seconds, peak / 2**20, start_s)


def largest(process: psutil.Process) -> int:
    """Resident bytes of the largest process in a tree."""
    sizes = [0]
    with suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                sizes.append(member.memory_info().rss)
    return max(sizes)


def pool_of(processes: int) -> ProcessPoolExecutor:
    """Start fresh processes, as a script would."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))


@contextmanager
def one_core() -> Iterator[None]:
    """Limit what the body starts to one core, so that its libraries start no more threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
