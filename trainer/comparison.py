"""Classifier runs side by side, as text for the terminal."""

from collections.abc import Mapping
from typing import Any


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


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores[f"{name}_ci95"]
    return f"{scores[name]:.3f} ({low:.3f}-{high:.3f})"
