"""A plane of points in coloured groups. Arrays in, a PNG file out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.plots.style import COLOURS, MARKERS, OTHER, as_png, new_figure, short

MOST_GROUPS = 20  # with a colour and marker of their own; there are enough for 30


@dataclass(frozen=True)
class Groups:
    """Which of the `names` each of ``n`` points belongs to, ``[n]``; below 0: to the rest."""

    members: npt.NDArray[np.integer]
    names: Sequence[str]
    rest: str = "others"


def scatter_png(
    points: npt.NDArray[np.floating], groups: Groups, axis_names: tuple[str, str]
) -> bytes:
    """Draw points ``[n, 2]``, a colour and marker per group, and a legend: 1050 x 750 pixels."""
    figure, axes = new_figure(7, 5)
    (x, y), members = points.T, groups.members
    size = 46 if len(points) <= 300 else 28
    for index, name in enumerate(groups.names):
        axes.scatter(
            x[members == index],
            y[members == index],
            s=size,
            c=COLOURS[index % len(COLOURS)],
            marker=MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
            edgecolors="white",
            linewidths=0.5,
            label=short(name),
            zorder=2,
        )
    rest = members < 0
    if rest.any():
        label = short(groups.rest)
        axes.scatter(x[rest], y[rest], s=size / 3, c=OTHER, lw=0, label=label, zorder=1)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.margins(0.04)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return as_png(figure)
