"""What each step is worth: ``python -m benchmarks.ladder --data FEATURES --job-dir JOB``.

Rungs, each measured by the folds of the dataset with the same classifier:

* T0: mean and standard deviation of the log-mel bins;
* M0: these and the modulation spectrum, nothing learned;
* T1: the encoder of T3, untrained;
* T2: the original study's recipe, ``configs/original.yaml``;
* T3: ours;
* T6: the encoder of T3, trained with labels: what it could reach.

Every rung is a run of ``python -m trainer.crossval`` for each seed; what is there is not done
again.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainer.metrics.scores import Counts, Floats, accuracy, count, macro_f1

_RESAMPLES = 2000
_OURS = "T3 ours"


@dataclass(frozen=True)
class Rung:
    """A row of the table: a recipe, and what of it is measured."""

    name: str
    recipe: str  # key of the configs
    encoder: str
    modes: tuple[str, ...]


RUNGS = (
    Rung("T0 log-mel mean + std", "ours", "none", ("inductive",)),
    Rung("M0 with modulation spectrum", "ours", "modulation", ("inductive",)),
    Rung("T1 untrained encoder", "ours", "random", ("inductive",)),
    Rung("T2 original recipe", "original", "trained", ("inductive", "transductive")),
    Rung(_OURS, "ours", "trained", ("inductive", "transductive")),
    Rung("T6 trained with labels", "ours", "supervised", ("inductive",)),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="features directory with folds")
    parser.add_argument("--job-dir", required=True, type=Path)
    parser.add_argument("--ours", default="configs/esc10.yaml", help="recipe of T1, T3 and T6")
    parser.add_argument("--original", default="configs/original.yaml", help="recipe of T2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rungs", nargs="+", default=[rung.name[:2] for rung in RUNGS])
    parser.add_argument("--modes", nargs="+", default=["inductive", "transductive"])
    parser.add_argument("--set", nargs="+", default=[], help="for the training of every rung")
    parser.add_argument("--set-classifier", nargs="+", default=[])
    known = parser.parse_args(arguments)
    scores, rows = {}, []
    for rung in RUNGS:
        for mode in rung.modes:
            if rung.name[:2] in known.rungs and mode in known.modes:
                tables = [measure(rung, mode, seed, known) for seed in known.seeds]
                scores[rung.name, mode] = resampled_scores(tables)
                rows.append(scores_row(rung.name, mode, scores[rung.name, mode]))
                print(rows[-1], flush=True)
    print()
    print(*SCORES_HEADER, *rows, sep="\n")
    gains = [
        gains_row(rung, mode, scores[_OURS, mode], of_rung)
        for (rung, mode), of_rung in scores.items()
        if rung != _OURS and (_OURS, mode) in scores
    ]
    if gains:
        print("\nIn points, paired over the recordings:\n")
        print(*GAINS_HEADER, *gains, sep="\n")


def measure(rung: Rung, mode: str, seed: int, known: argparse.Namespace) -> pd.DataFrame:
    """Cross-validate a rung with a seed, and return the predictions."""
    job = known.job_dir / f"{rung.recipe}-seed{seed}"
    recipe = {"ours": known.ours, "original": known.original}[rung.recipe]
    words = ["--data", known.data, "--job-dir", str(job), f"--{mode}", "--config", recipe]
    words += ["--encoder", rung.encoder, "--set", f"seed={seed}", *known.set]
    if known.set_classifier:
        words += ["--set-classifier", *known.set_classifier]
    run_crossval(words)
    return read_predictions(job / mode, f"{rung.encoder}-logistic")


def run_crossval(words: Sequence[str]) -> None:
    """Run the command, and stop where it fails."""
    command = [sys.executable, "-m", "trainer.crossval", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command


def read_predictions(home: Path, run: str) -> pd.DataFrame:
    """Predictions of all folds, ordered by recording."""
    parts = [
        pd.read_csv(path, dtype=str, na_filter=False)
        for path in sorted(home.glob(f"classifiers/fold*/{run}/predictions.csv"))
    ]
    return pd.concat(parts).sort_values("recording_id", ignore_index=True)


MEASURES: tuple[tuple[str, str, Callable[[Counts], Floats]], ...] = (
    ("logistic accuracy", "predicted", accuracy),
    ("macro-F1", "predicted", macro_f1),
    ("5-NN accuracy", "knn_predicted", accuracy),
)
"""What is measured: its name, the column of the predictions, the score."""

_NAMES = " | ".join(name for name, _, _ in MEASURES)
_RULES = "|---" * len(MEASURES)
SCORES_HEADER = (f"| rung | mode | seeds | {_NAMES} |", f"|---|---|---{_RULES}|")
GAINS_HEADER = (f"| {_OURS} against | mode | {_NAMES} |", f"|---|---{_RULES}|")


def resampled_scores(tables: Sequence[pd.DataFrame]) -> list[Floats]:
    """Score the predictions of each seed, by each of `MEASURES`: ``[seeds, 1 + resamples]``.

    The first column has all recordings once, the others draw them with replacement; rungs that
    were measured on the same recordings have the same draws, so their differences are paired.
    """
    n_recordings = len(tables[0])
    draws = np.random.default_rng(0).integers(0, n_recordings, (_RESAMPLES, n_recordings))
    weights = np.stack([np.ones(n_recordings), *map(_times_drawn, draws)])
    return [
        np.stack([measure(_counts(table, column).weighted(weights)) for table in tables])
        for _, column, measure in MEASURES
    ]


def _times_drawn(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.bincount(rows, minlength=len(rows)).astype(np.float64)


def _counts(table: pd.DataFrame, column: str) -> Counts:
    names, codes = np.unique(
        np.stack([table["label"].to_numpy(str), table[column].to_numpy(str)]), return_inverse=True
    )
    truth, predicted = codes.reshape(2, -1)
    return count(truth, predicted, np.arange(len(table)), len(names))


def scores_row(rung: str, mode: str, scores: Sequence[Floats]) -> str:
    """Lay out the means over seeds, with 95 % intervals over recordings and the seeds' range."""
    cells = []
    for of_seeds in scores:
        mean, low, high = _mean_and_interval(of_seeds)
        own = of_seeds[:, 0]
        spread = f", seeds {own.min():.3f}–{own.max():.3f}" if len(own) > 1 else ""
        cells.append(f"{mean:.3f} ({low:.3f}–{high:.3f}){spread}")
    return f"| {rung} | {mode} | {len(scores[0])} | {' | '.join(cells)} |"


def gains_row(rung: str, mode: str, ours: Sequence[Floats], other: Sequence[Floats]) -> str:
    """Lay out how many points ours has more than a rung, with 95 % intervals of the difference."""
    cells = []
    for own, its in zip(ours, other, strict=True):
        mean, low, high = 100 * _mean_and_interval(own - its)
        cells.append(f"{mean:+.1f} ({low:+.1f} to {high:+.1f})")
    return f"| {rung} | {mode} | {' | '.join(cells)} |"


def _mean_and_interval(of_seeds: Floats) -> Floats:
    """Mean over seeds of all recordings, and the 2.5 % and 97.5 % quantiles over resamples."""
    means = of_seeds.mean(axis=0)
    return np.array([means[0], *np.percentile(means[1:], [2.5, 97.5])])


if __name__ == "__main__":
    main()
