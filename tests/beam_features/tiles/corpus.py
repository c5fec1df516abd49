"""Thousands of bad files, and the verdict on how each was read.

A file may be read whole or be rejected. The seconds that it must have come from what was written
into it, or from a full decode by ffmpeg.
"""

import itertools
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg
import numpy as np
import soundfile

from beam_features.schema.audio.files import AUDIO_SUFFIXES, RejectedRecording
from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import Heard, ReadSettings, read_tiles
from tests.beam_features.encoded import EXTREMES, RATES_HZ, Form, all_forms, noisy_tone
from tests.beam_features.tiles.mutations import Mutant, Original, mutants

SECONDS = 2.25  # 36,000 frames: no two letters have that value as a number
SHORTER_S = 0.075  # a packet of the longest that are written here: 1152 frames at 16 kHz
LONGER_S = 0.4  # and add several to each of three files
FAULTS = ("shortened", "lengthened", "refused", "not finite", "crash")
_JUDGE_HZ = 8_000
_WROTE_NOTHING = (soundfile.LibsndfileError, subprocess.CalledProcessError)


@dataclass(frozen=True)
class Verdict:
    """How a file was read: ``whole``, ``rejected``, or one of the faults."""

    form: Form
    mutant: Mutant
    outcome: str
    detail: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.form.name}, {self.mutant.change} ({self.detail})"


def corpus(home: Path, every_form: int, every_change: int) -> Iterator[tuple[Form, Mutant]]:
    """Yield the bad files, or an even part of them."""
    for index, form in enumerate(all_forms()[::every_form]):
        part = slice(index % every_change, None, every_change)
        good, others = originals(form, home)
        for mutant in [*list(mutants(good, others))[part], *sample_extremes(form, others, part)]:
            yield form, mutant


def originals(form: Form, home: Path) -> tuple[Original, dict[str, Original]]:
    """Encode a good file of a form, and others of the same form."""
    signals = {
        "same": (form.rate_hz, 1),
        "another rate": (24_000, 1),
        "two channels": (form.rate_hz, 2),
        "both": (44_100, 2),
    }
    if form.container in RATES_HZ:
        signals = {"same": signals["same"]}
    files = {name: _original(form, *signal, home) for name, signal in signals.items()}
    found = {name: file for name, file in files.items() if file is not None}
    return found["same"], found


def _original(form: Form, rate_hz: int, n_channels: int, home: Path) -> Original | None:
    try:
        data = form.encode(_over_channels(noisy_tone(SECONDS, rate_hz), n_channels), rate_hz)
    except _WROTE_NOTHING:
        return None
    seconds = SECONDS
    if "/" in form.name:  # ffmpeg's encoder for WMA drops the last packet
        path = home / f"original.{form.suffix}"
        path.write_bytes(data)
        seconds = min(SECONDS, seconds_by_ffmpeg(path))
        assert seconds > SECONDS - 0.06, form.name
    return Original(data, rate_hz, n_channels, seconds, form.is_stream)


def _over_channels(samples: np.ndarray, n_channels: int) -> np.ndarray:
    return samples if n_channels == 1 else samples.repeat(n_channels).reshape(-1, n_channels)


def sample_extremes(form: Form, others: dict[str, Original], part: slice) -> Iterator[Mutant]:
    """Encode some of the signals at and beyond what a sample can be, in mono and in stereo."""
    found = [others[name] for name in ("same", "both") if name in others]
    for other, name in list(itertools.product(found, EXTREMES))[part]:
        signal = EXTREMES[name](noisy_tone(SECONDS, other.rate_hz))
        try:
            data = form.encode(_over_channels(signal, other.n_channels), other.rate_hz)
        except _WROTE_NOTHING:
            continue
        yield Mutant(f"samples: {name}, {other.n_channels} channels", data, other.seconds)


def seconds_by_ffmpeg(path: Path) -> float:
    """Decode all that ffmpeg decodes; 0 if that is nothing."""
    source = ["-v", "error", "-nostdin", "-threads", "1", "-i", path]
    target = ["-map", "0:a:0", "-ac", "1", "-ar", str(_JUDGE_HZ), "-f", "s16le", "pipe:1"]
    done = subprocess.run([_ffmpeg(), *source, *target], capture_output=True)
    return len(done.stdout) / 2 / _JUDGE_HZ


@cache
def _ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def judge(form: Form, mutant: Mutant, home: Path) -> Verdict:
    """Read a bad file as the job does, and compare."""
    path = home / f"mutant.{form.suffix}"
    path.write_bytes(mutant.data)
    heard = Heard()
    try:
        tiles = list(read_tiles(str(path), ReadSettings(FeatureSpec()), heard))
    except RejectedRecording as rejection:
        is_wrong = mutant.is_sound and path.suffix in AUDIO_SUFFIXES
        return Verdict(form, mutant, "refused" if is_wrong else "rejected", str(rejection))
    except Exception as error:
        return Verdict(form, mutant, "crash", repr(error))
    truth = seconds_by_ffmpeg(path) if mutant.seconds is None else mutant.seconds
    detail = f"{heard.seconds:.3f} of {truth:.3f} s"
    if not all(map(_are_finite, tiles)):
        return Verdict(form, mutant, "not finite", detail)
    if heard.seconds < truth - SHORTER_S:
        return Verdict(form, mutant, "shortened", detail)
    if heard.seconds > truth + LONGER_S and truth:
        return Verdict(form, mutant, "lengthened", detail)
    return Verdict(form, mutant, "whole", detail)


def _are_finite(tiles: np.ndarray) -> bool:
    """Whether the tiles, and what a summary says of them, are finite."""
    moments = Moments.of(tiles.reshape(-1, *tiles.shape[-2:]))
    return bool(
        np.isfinite(tiles).all() and np.isfinite([*moments.sum, *moments.sum_of_squares]).all()
    )


def main() -> None:
    """Print the verdicts on the whole corpus: a table by container and kind, then the faults."""
    counts: Counter[tuple[str, str, str]] = Counter()
    faults = []
    with TemporaryDirectory() as home:
        for form, mutant in corpus(Path(home), 1, 1):
            verdict = judge(form, mutant, Path(home))
            counts[form.container, mutant.kind, verdict.outcome] += 1
            faults += [verdict] if verdict.outcome in FAULTS else []
    for outcomes in (("whole",), ("rejected",), FAULTS):
        found = {key[:2]: n for key, n in counts.items() if key[2] in outcomes}
        print(", ".join(outcomes), sum(found.values()))
        kinds = sorted({kind for _, kind in found})
        print("container".ljust(12), *(kind.rjust(8) for kind in kinds))
        for container in sorted({container for container, _ in found}):
            row = (str(found.get((container, kind), "")).rjust(8) for kind in kinds)
            print(container.ljust(12), *row)
    print(*faults, sep="\n")


if __name__ == "__main__":
    main()
