"""Trees in the layout of DCASE 2018 task 5, and a small home whose nodes hear the same sounds.

The layout is that of the releases' readme files and of ``meta.txt`` in both sets.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

ACTIVITIES = (
    *("absence", "cooking", "dishwashing", "eating", "other", "social_activity"),
    *("vacuum_cleaner", "watching_tv", "working"),
)
FOLDS = (1, 2, 3, 4)
KNOWN_NODES, UNKNOWN_NODES = (1, 2, 3, 4), (5, 6, 7)
CHANNELS = 4
RATE_HZ = 16_000

Samples = npt.NDArray[np.float64]
DevelopmentRow = tuple[int, str, str]
"""Fold, activity, file such as ``DevNode1_ex2_3.wav``."""
EvaluationRow = tuple[str, str, str, str]
"""Original name, released name, activity, session."""


def write_lines(path: Path, *lines: str) -> None:
    """Write a text file, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_wav(path: Path, samples: Samples) -> None:
    """Write the channels ``[n, 4]`` of a node as the task stores them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")


def write_development_lists(root: Path, rows: Sequence[DevelopmentRow]) -> None:
    """Write ``meta.txt`` and the lists of the folds."""
    described = [
        (fold, f"audio/{file}", activity, file.split("_")[1].replace("ex", "s"))
        for fold, activity, file in rows
    ]
    lines = [(fold, "\t".join(cells)) for fold, *cells in described]
    write_lines(root / "meta.txt", *(line for _, line in lines))
    for fold in FOLDS:
        setup = root / "evaluation_setup"
        tested = [row for row in described if row[0] == fold]
        write_lines(setup / f"fold{fold}_train.txt", *(line for f, line in lines if f != fold))
        write_lines(setup / f"fold{fold}_test.txt", *(file for _, file, _, _ in tested))
        evaluated = (f"{file}\t{activity}" for _, file, activity, _ in tested)
        write_lines(setup / f"fold{fold}_evaluate.txt", *evaluated)


def write_evaluation_lists(root: Path, rows: Sequence[EvaluationRow]) -> None:
    """Write ``meta.txt``, the same as ``evaluate.txt``, and the original names."""
    lines = [f"audio/{new}\t{activity}\t{session}" for _, new, activity, session in rows]
    write_lines(root / "meta.txt", *lines)
    setup = root / "evaluation_setup"
    write_lines(setup / "evaluate.txt", *lines)
    write_lines(setup / "test.txt", *(f"audio/{new}" for _, new, _, _ in rows))
    write_lines(setup / "map.txt", *(f"audio/{old}\taudio/{new}" for old, new, _, _ in rows))


def write_home(data: Path, seconds: float, seed: int = 0) -> Path:
    """Write both sets side by side: a session per activity and fold, and one for evaluation.

    Each session is a segment of `seconds`, heard by all nodes at once. Both sets number their
    sessions from 1, as the releases do. Activities differ in pitch and rhythm, sessions in both by
    a little; nodes differ in level and colour, and the unknown ones are coloured more.
    """
    rng = np.random.default_rng(seed)
    development = data / "DCASE2018-task5-dev"
    rows: list[DevelopmentRow] = []
    sessions = [(fold, activity) for fold in FOLDS for activity in ACTIVITIES]
    for number, (fold, activity) in enumerate(sessions, start=1):
        for node, samples in _session(activity, KNOWN_NODES, seconds, rng):
            rows.append((fold, activity, f"DevNode{node}_ex{number}_1.wav"))
            write_wav(development / "audio" / rows[-1][2], samples)
    write_development_lists(development, rows)
    evaluation = data / "DCASE2018-task5-eval"
    nodes = (*KNOWN_NODES, *UNKNOWN_NODES)
    names = iter(rng.permutation(len(ACTIVITIES) * len(nodes)) + 1)
    released: list[EvaluationRow] = []
    for number, activity in enumerate(ACTIVITIES, start=1):
        for node, samples in _session(activity, nodes, seconds, rng):
            old, new = f"EvalNode{node}_ex{number}_1.wav", f"{next(names)}.wav"
            released.append((old, new, activity, f"s{number}"))
            write_wav(evaluation / "audio" / new, samples)
    write_evaluation_lists(evaluation, released)
    return data


def _session(
    activity: str, nodes: Sequence[int], seconds: float, rng: np.random.Generator
) -> Iterator[tuple[int, Samples]]:
    """Yield what each node hears of a session ``[n, 4]``."""
    source = _source(ACTIVITIES.index(activity), round(seconds * RATE_HZ), rng)
    for node in nodes:
        heard = _tilted(source, (node - 2.5) if node in KNOWN_NODES else (6.0 - node) * 6 - 9)
        channels = np.stack([np.roll(heard, channel * (node % 3)) for channel in range(CHANNELS)])
        yield node, 0.05 * channels.T + rng.normal(0, 0.001, (len(heard), CHANNELS))


def _source(activity: int, n_samples: int, rng: np.random.Generator) -> Samples:
    """Noise around a pitch, whose level swings: ``[n]`` of deviation about 1."""
    hz = 200 * 1.5**activity * rng.uniform(0.9, 1.1)
    octaves = np.log2(np.maximum(_frequencies_hz(n_samples), 1.0) / hz)
    band = np.exp(-(octaves**2))
    noise = np.fft.irfft(np.fft.rfft(rng.normal(size=n_samples)) * band, n_samples)
    swings = 2 * np.pi * (1 + 2 * activity) * rng.uniform(0.9, 1.1) * np.arange(n_samples) / RATE_HZ
    swung: Samples = noise / noise.std() * (1 + 0.8 * np.sin(swings))
    return swung


def _tilted(samples: Samples, db_per_octave: float) -> Samples:
    """Raise or lower the level by octave from 1 kHz: a microphone or a wall ``[n]``."""
    octaves = np.log2(np.clip(_frequencies_hz(len(samples)), 100, 8000) / 1000)
    gains = 10 ** (db_per_octave * octaves / 20)
    tilted: Samples = np.fft.irfft(np.fft.rfft(samples) * gains, len(samples))
    return tilted / max(float(np.abs(tilted).max()) / 5, 1.0)


def _frequencies_hz(n_samples: int) -> Samples:
    return np.fft.rfftfreq(n_samples, 1 / RATE_HZ)
