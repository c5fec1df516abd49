"""Scores side by side, as text for the terminal: of a job's classifiers, of cross-validations."""

from collections.abc import Mapping
from typing import Any

_SENTENCES = {
    "inductive": "inductive: each encoder was trained without the audio that it is tested on",
    "transductive": "transductive: one encoder was trained on all audio, tests too, without labels",
}


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out macro-F1 and accuracy per run, each with its 95 % interval.

    A row says so where the encoder may have heard test recordings.
    """
    lines = [
        f"{'':<20}{'per recording':^42}{'per tile':^20}",
        f"{'encoder-head':<20}{'macro-F1':^21}{'accuracy':^21}{'macro-F1':^10}{'accuracy':^10}",
    ]
    for name, result in results.items():
        recording, tile = result["recording"], result["tile"]
        lines.append(
            f"{name:<20}{_with_interval(recording, 'macro_f1'):^21}"
            f"{_with_interval(recording, 'accuracy'):^21}"
            f"{tile['macro_f1']:^10.3f}{tile['accuracy']:^10.3f}"
            f"{'transductive' if result.get('transductive') else ''}"
        )
    return "\n".join(line.rstrip() for line in lines)


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay out the scores over all folds, and those of the evaluation set where there is one."""
    runs = summary["runs"]
    recordings = max(run["folds"]["recordings"] for run in runs.values())
    columns = ("accuracy", "macro-F1", "5-NN accuracy")
    lines = [
        _SENTENCES[summary["mode"]],
        f"{recordings} recordings, each tested once; 95 % intervals over recordings",
        f"{'encoder-head':<22}" + "".join(f"{column:<22}" for column in columns),
    ]
    for name, run in runs.items():
        cells = [
            _with_interval(run["folds"], key) for key in ("accuracy", "macro_f1", "knn_accuracy")
        ]
        lines.append(f"{name:<22}" + "".join(f"{cell:<22}" for cell in cells))
        for split, scores in run["per_split"].items():
            if split.startswith("eval"):
                cells = [_with_interval(scores["recording"], k) for k in ("accuracy", "macro_f1")]
                lines.append(f"  {split:<20}" + "".join(f"{cell:<22}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores[f"{name}_ci95"]
    return f"{scores[name]:.3f} ({low:.3f}-{high:.3f})"
