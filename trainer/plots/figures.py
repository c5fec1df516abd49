"""Pictures of results for people: arrays in, PNG files out. Pure functions, without pyplot's state.

One palette everywhere: seaborn's for the colour-blind, but for its grey, which means "other". Marks
tell groups apart a second time. Names of any length and sign are shortened, never read as formulas.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

DPI = 150
MOST_GROUPS = 20  # with a colour and mark of their own
_COLOURS = [c.replace("#949494", "#2b2b2b") for c in sns.color_palette("colorblind").as_hex()]
_MARKS = ("o", "s", "^")
_ACCENT = _COLOURS[0]
_SHADES = sns.light_palette(_ACCENT, as_cmap=True)
_OTHER = "#c4c4c4"
_MOST_NUMBERED = 25  # classes whose cells hold numbers
_MOST_TICKS = 50  # class names along a side
_LONGEST_NAME = 26

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Groups:
    """Which of the `names` each of ``n`` points belongs to, ``[n]``; below 0, to the rest."""

    members: Ints
    names: Sequence[str]
    rest: str = "others"


def confusion_png(confusion: Ints, label_names: Sequence[str], title: str = "") -> bytes:
    """Draw counts ``[true, predicted]``, coloured by their share of the row (the true class).

    Up to 25 classes have numbers; of more than 50 classes not all are named.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    numbers = np.where(confusion > 0, confusion.astype(str), "")
    axes = _heat_map(shares, numbers, label_names, highest=1.0, meaning="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return _png(axes, whole=True)


def distances_png(distances: Floats, label_names: Sequence[str]) -> bytes:
    """Draw distances ``[n, n]``, darker where larger; named and numbered as in confusions."""
    numbers = np.array([[f"{value:.2f}" for value in row] for row in distances])
    highest = float(distances.max()) or 1.0
    axes = _heat_map(distances, numbers, label_names, highest, meaning="cosine distance")
    return _png(axes, whole=True)


def scatter_png(points: Floats, groups: Groups, axis_names: tuple[str, str]) -> bytes:
    """Draw points ``[n, 2]``, a colour and mark per group, and a legend beside: 1050 x 750 pixels.

    Colours and marks are enough for 30 groups.
    """
    axes = _new_axes(7, 5)
    (x, y), members = points.T, groups.members
    size = 46 if len(points) <= 300 else 28
    for index, name in enumerate(groups.names):
        axes.scatter(
            x[members == index],
            y[members == index],
            s=size,
            c=_COLOURS[index % len(_COLOURS)],
            marker=_MARKS[(index + index // len(_COLOURS)) % len(_MARKS)],
            edgecolors="white",
            linewidths=0.5,
            label=_short(name),
            zorder=2,
        )
    rest = members < 0
    if rest.any():
        label = _short(groups.rest)
        axes.scatter(x[rest], y[rest], s=size / 3, c=_OTHER, lw=0, label=label, zorder=1)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.margins(0.04)
    _figure_of(axes).legend(loc="outside right upper", frameon=False, fontsize="small")
    return _png(axes)


def curve_png(steps: Ints, values: Floats, name: str) -> bytes:
    """Draw a value over steps, both ``[n]``, and its running mean where points are many.

    The picture has 900 x 525 pixels.
    """
    axes = _new_axes(6, 3.5)
    window = len(values) // 25
    faint = window > 1
    axes.plot(
        steps, values, color=_ACCENT, alpha=0.3 if faint else 1.0, marker="" if faint else "o", ms=4
    )
    if faint:
        mean = np.convolve(values, np.full(window, 1 / window), "valid")
        axes.plot(steps[window - 1 :], mean, color=_ACCENT, linewidth=2)
    axes.set(xlabel="step", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", color="#e6e6e6")
    return _png(axes)


def _heat_map(
    values: Floats,
    numbers: npt.NDArray[np.str_],
    names: Sequence[str],
    highest: float,
    meaning: str,
) -> Axes:
    """Draw a square of values from 0 to `highest`, the first row on top."""
    side = min(2.5 + 0.35 * len(names), 10.0)
    axes = _new_axes(side + 1, side)
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
    ticks, words = [index + 0.5 for index in shown], [_short(names[index]) for index in shown]
    axes.set_xticks(ticks, words, rotation=45, ha="right", rotation_mode="anchor", size=8)
    axes.set_yticks(ticks, words, rotation=0, size=8)
    return axes


def _new_axes(width_inch: float, height_inch: float) -> Axes:
    with sns.axes_style("ticks", {"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure((width_inch, height_inch), layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()


def _figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _png(axes: Axes, *, whole: bool = False) -> bytes:
    """Make the file; `whole`: as large as all that was drawn, such as names of any length."""
    buffer = io.BytesIO()
    _figure_of(axes).savefig(buffer, format="png", dpi=DPI, bbox_inches="tight" if whole else None)
    return buffer.getvalue()


def _short(name: str) -> str:
    """Fit a name beside a figure; legends leave out what begins with an underscore."""
    line = " ".join(name.split())
    if len(line) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        line = f"{line[: half - 1]}…{line[-half:]}"
    return (f" {line}" if line.startswith("_") else line).replace("$", r"\$")
