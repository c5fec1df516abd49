"""One style for all figures, without pyplot's state.

The palette is seaborn's for colour-blind readers, except that its grey is replaced: grey means
"other". Markers distinguish groups a second time.
"""

import io
from collections.abc import Sequence

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150
COLOURS: Sequence[str] = [
    colour.replace("#949494", "#2b2b2b") for colour in sns.color_palette("colorblind").as_hex()
]
MARKERS = ("o", "s", "^")
ACCENT = COLOURS[0]
OTHER = "#c4c4c4"
GRID = "#e6e6e6"
_LONGEST_NAME = 26


def new_panels(
    rows: int, columns: int, width_inch: float, height_inch: float
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels of a given size that share their y axis; return both."""
    with sns.axes_style("ticks", {"axes.spines.top": False, "axes.spines.right": False}):
        size = (columns * width_inch, rows * height_inch)
        figure = Figure(size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, [*figure.subplots(rows, columns, squeeze=False, sharey=True).flat]


def new_figure(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    """Make a figure of one panel; return both."""
    figure, (axes,) = new_panels(1, 1, width_inch, height_inch)
    return figure, axes


def as_png(figure: Figure, *, whole: bool = False) -> bytes:
    """Encode a figure; `whole`: extend it to everything drawn, such as names of any length."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight" if whole else None)
    return buffer.getvalue()


def short(name: str) -> str:
    """Shorten a name to fit beside a figure, on one line.

    Matplotlib reads ``$`` as a formula and omits legend entries with a leading underscore.
    """
    line = " ".join(name.split())
    if len(line) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        line = f"{line[: half - 1]}…{line[-half:]}"
    return (f" {line}" if line.startswith("_") else line).replace("$", r"\$")
