"""What each step is worth: ``python -m benchmarks.ladder --data FEATURES --job-dir JOB``.

Rungs, each measured by the folds of the dataset with the same classifier:

* T0: mean and standard deviation of the log-mel bins;
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

_RESAMPLES = 2000


@dataclass(frozen=True)
class Rung:
    """A row of the table: a recipe, and what of it is measured."""

    name: str
    recipe: str  # key of the configs
    encoder: str
    modes: tuple[str, ...]


RUNGS = (
    Rung("T0 log-mel mean + std", "ours", "none", ("inductive",)),
    Rung("T1 untrained encoder", "ours", "random", ("inductive",)),
    Rung("T2 original recipe", "original", "trained", ("inductive", "transductive")),
    Rung("T3 ours", "ours", "trained", ("inductive", "transductive")),
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
    lines = []
    for rung in RUNGS:
        for mode in rung.modes:
            if rung.name[:2] in known.rungs and mode in known.modes:
                tables = [measure(rung, mode, seed, known) for seed in known.seeds]
                lines.append(row(rung.name, mode, tables))
                print(lines[-1], flush=True)
    print("\n" + "\n".join([*HEADER, *lines]))


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


HEADER = (
    "| rung | mode | seeds | logistic accuracy | macro-F1 | 5-NN accuracy |",
    "|---|---|---|---|---|---|",
)


def row(name: str, mode: str, tables: Sequence[pd.DataFrame]) -> str:
    """Lay out the means over seeds, with 95 % intervals over recordings and the seeds' range."""
    truth = tables[0]["label"].to_numpy()
    rows = resamples(len(truth))
    cells = [
        cell(np.stack([score(truth, table[column].to_numpy(), rows) for table in tables]))
        for score, column in (
            (accuracies, "predicted"),
            (macro_f1s, "predicted"),
            (accuracies, "knn_predicted"),
        )
    ]
    return f"| {name} | {mode} | {len(tables)} | {' | '.join(cells)} |"


def resamples(n: int) -> npt.NDArray[np.int64]:
    """Rows ``[1 + resamples, n]``: all as they are, then draws with replacement."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.arange(n)[None], rng.integers(0, n, (_RESAMPLES, n))])


def accuracies(
    truth: npt.NDArray[np.object_], predicted: npt.NDArray[np.object_], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Share of right predictions of each resample."""
    return np.asarray((truth == predicted)[rows].mean(axis=1))


def macro_f1s(
    truth: npt.NDArray[np.object_], predicted: npt.NDArray[np.object_], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean F1 over the classes of each resample."""
    scores = []
    for name in np.unique(truth):
        is_true, is_guess = (truth == name)[rows], (predicted == name)[rows]
        both = (is_true & is_guess).sum(axis=1)
        scores.append(2 * both / np.maximum((is_true.sum(axis=1) + is_guess.sum(axis=1)), 1))
    return np.asarray(np.mean(scores, axis=0))


def cell(scores: npt.NDArray[np.float64]) -> str:
    """Mean over seeds ``[seeds, 1 + resamples]``, its interval, and the range of the seeds."""
    low, high = np.percentile(scores[:, 1:].mean(axis=0), [2.5, 97.5])
    own = scores[:, 0]
    spread = f", seeds {own.min():.3f}–{own.max():.3f}" if len(own) > 1 else ""
    return f"{own.mean():.3f} ({low:.3f}–{high:.3f}){spread}"


if __name__ == "__main__":
    main()
