"""A value over the steps of a training. Arrays in, a PNG file out."""

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from trainer.plots.style import ACCENT, GRID, as_png, new_figure


def curve_png(steps: npt.NDArray[np.integer], values: npt.NDArray[np.floating], name: str) -> bytes:
    """Draw a value over steps, both ``[n]``, and its running mean if there are many points.

    The figure has 900 x 525 pixels.
    """
    figure, axes = new_figure(6, 3.5)
    window = len(values) // 25
    if window > 1:
        mean = np.convolve(values, np.full(window, 1 / window), "valid")
        axes.plot(steps, values, color=ACCENT, alpha=0.3)
        axes.plot(steps[window - 1 :], mean, color=ACCENT, linewidth=2)
    else:
        axes.plot(steps, values, color=ACCENT, marker="o", ms=4)
    axes.set(xlabel="step", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", color=GRID)
    return as_png(figure)
