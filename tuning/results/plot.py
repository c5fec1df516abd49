"""The figure of a search: the objective against each searched key."""

import io
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tuning.space import Domain, Range, as_cell

_DPI = 130
_COLUMNS = 3
_PANEL_INCH = (4.2, 3.2)
_PANEL_CHARACTERS = 54  # of tick labels that fit below a panel
_NARROWEST = 12  # characters of a line of a rotated tick label
_STYLES = {  # colour-blind safe colours, and markers
    "completed": ("#0173b2", "o"),
    "stopped": ("#de8f05", "s"),
    "best": ("#029e73", "*"),
}


def trials_png(
    trials: pd.DataFrame, objective: str, domains: Sequence[tuple[str, Domain]], best: str | None
) -> bytes:
    """Draw a panel per searched key, with a point for each trial that has a value.

    Args:
        trials: columns ``trial``, ``status``, the objective, and the searched keys.
        objective: name of its column.
        domains: the searched keys.
        best: id of the best trial.

    Returns:
        A PNG file.
    """
    shown = trials[trials[objective].notna()].copy()
    shown.loc[shown["trial"] == best, "status"] = "best"
    columns = min(_COLUMNS, len(domains))
    rows = math.ceil(len(domains) / columns)
    with sns.axes_style("ticks", {"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure((columns * _PANEL_INCH[0], rows * _PANEL_INCH[1]), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for (key, domain), axes in zip(domains, panels, strict=False):
        _panel(axes, shown[shown[key].notna()], key, domain, objective)
    for axes in figure.axes[::columns]:
        axes.set(ylabel=objective)
    for axes in list(panels):  # left over in the last row
        axes.remove()
    handles, names = _legend(figure.axes, shown["status"])
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _panel(axes: Axes, shown: pd.DataFrame, key: str, domain: Domain, objective: str) -> None:
    if isinstance(domain, Range):
        x = shown[key].astype(float)
        if domain.scale == "log":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif domain.is_integer:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(*_padded(domain))
    else:
        names = [str(as_cell(choice)) for choice in domain.choices]
        places = {name: place for place, name in enumerate(names)}
        jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(shown))
        x = shown[key].map(str).map(places).astype(float) + jitter
        width = _PANEL_CHARACTERS // len(names)
        turned = any(len(word) > width for name in names for word in name.split())
        axes.set_xticks(
            range(len(names)),
            [textwrap.fill(name, max(width, _NARROWEST), break_long_words=False) for name in names],
            rotation=30 if turned else 0,
            ha="right" if turned else "center",
        )
        axes.set_xlim(-0.5, len(names) - 0.5)
    for status, (colour, mark) in _STYLES.items():
        chosen = shown["status"] == status
        axes.scatter(
            x[chosen],
            shown.loc[chosen, objective],
            c=colour,
            marker=mark,
            s=150 if status == "best" else 34,
            edgecolors="white",
            linewidths=0.5,
            label=status,
        )
    axes.tick_params(labelsize=9)
    axes.set(xlabel=key)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)


def _padded(domain: Range) -> tuple[float, float]:
    """Return limits of an axis, slightly wider than the range."""
    if domain.scale == "log":
        factor = (domain.high / domain.low) ** 0.05
        return domain.low / factor, domain.high * factor
    space = (domain.high - domain.low) * 0.05
    return domain.low - space, domain.high + space


def _legend(panels: Sequence[Axes], statuses: "pd.Series[str]") -> tuple[list[Artist], list[str]]:
    handles, names = panels[0].get_legend_handles_labels()
    there = set(statuses)
    kept = [(handle, name) for handle, name in zip(handles, names, strict=True) if name in there]
    return [handle for handle, _ in kept], [name for _, name in kept]
