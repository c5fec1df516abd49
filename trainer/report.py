"""Results for people: the confusion matrix as a picture, the comparison as a table."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns

_LARGEST_SIDE_INCH = 30.0
_MOST_CLASSES_WITH_NUMBERS = 50


def confusion_png(
    confusion: npt.NDArray[np.integer], label_names: Sequence[str], title: str
) -> bytes:
    """Draw counts, coloured by their share of the row (the true class), as a PNG."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(3 + 0.5 * len(label_names), _LARGEST_SIDE_INCH)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    sns.heatmap(
        shares,
        annot=confusion if len(label_names) <= _MOST_CLASSES_WITH_NUMBERS else None,
        fmt="d",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        xticklabels=label_names,
        yticklabels=label_names,
        cbar_kws={"label": "share of the true class"},
        ax=axes,
    )
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.tick_params(axis="x", rotation=45)
    plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()


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
