"""Heat maps of classes: confusions and distances. Arrays in, PNG files out."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.plots.style import ACCENT, as_png, new_figure, short

_SHADES = sns.light_palette(ACCENT, as_cmap=True)
_MOST_NUMBERED = 25  # classes whose cells hold numbers
_MOST_TICKS = 50  # class names along a side


def confusion_png(
    confusion: npt.NDArray[np.integer], label_names: Sequence[str], title: str = ""
) -> bytes:
    """Draw counts ``[true, predicted]``, coloured by their share of the row (the true class).

    Up to 25 classes have numbers; of more than 50 classes not all are named.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    numbers = np.where(confusion > 0, confusion.astype(str), "")
    figure, axes = _heat_map(shares, numbers, label_names, 1.0, "share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return as_png(figure, whole=True)


def distances_png(distances: npt.NDArray[np.floating], label_names: Sequence[str]) -> bytes:
    """Draw distances ``[n, n]``, darker if larger; named and numbered like confusions."""
    numbers = np.array([[f"{value:.2f}" for value in row] for row in distances])
    highest = float(distances.max()) or 1.0
    figure, _ = _heat_map(distances, numbers, label_names, highest, "cosine distance")
    return as_png(figure, whole=True)


def _heat_map(
    values: npt.NDArray[np.floating],
    numbers: npt.NDArray[np.str_],
    names: Sequence[str],
    highest: float,
    meaning: str,
) -> tuple[Figure, Axes]:
    """Draw a square of values from 0 to `highest`, the first row on top."""
    side = min(2.5 + 0.35 * len(names), 10.0)
    figure, axes = new_figure(side + 1, side)
    sns.heatmap(
        values,
        annot=numbers if len(names) <= _MOST_NUMBERED else None,
        fmt="",
        annot_kws={"size": 8},
        cmap=_SHADES,
        vmin=0,
        vmax=highest,
        square=True,
        cbar_kws={"label": meaning, "shrink": 0.6},
        ax=axes,
    )
    shown = range(0, len(names), math.ceil(len(names) / _MOST_TICKS))
    ticks, words = [index + 0.5 for index in shown], [short(names[index]) for index in shown]
    axes.set_xticks(ticks, words, rotation=45, ha="right", rotation_mode="anchor", size=8)
    axes.set_yticks(ticks, words, rotation=0, size=8)
    return figure, axes
