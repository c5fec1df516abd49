"""The page: a Bokeh plot, a search box, a list and an audio element, in one file."""

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import soundfile
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, TapTool
from bokeh.palettes import Category20, Viridis256
from bokeh.plotting import figure
from bokeh.resources import INLINE

from similarity.map.layout import is_scale

_OTHER = "#9e9e9e"  # songs without a value, and groups beyond the colours
_COLOURS = Category20[20][::2] + Category20[20][1::2]

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class MapSong:
    """A song on the map.

    Attributes:
        name: what the list shows.
        recording: its id.
        length: such as ``3:05``.
        sound: what the audio element plays: a link or a data URI; None: nothing.
        near: rows and similarities of the songs most like it.
    """

    name: str
    recording: str
    length: str
    sound: str | None
    near: Sequence[tuple[int, float]]


def render_map(
    title: str, songs: Sequence[MapSong], points: Floats, columns: Mapping[str, Sequence[Any]]
) -> str:
    """Write the page, which works without network.

    Args:
        title: of the page.
        songs: in the order of the points.
        points: ``[songs, 2]``.
        columns: what colours may show, a value per song; the first is shown at first.
    """
    colours = {name: colours_of(values) for name, values in columns.items()}
    first = next(iter(colours))
    source = ColumnDataSource(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "name": [song.name for song in songs],
            "group": [_text(value) for value in columns[first]],
            "colour": colours[first],
            "alpha": [0.85] * len(songs),
        },
        name="songs",
    )
    here = resources.files("similarity.map")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((here / "page.html").read_text())
    data = {
        "songs": [vars(song) for song in songs],
        "colours": colours,
        "groups": {name: [_text(value) for value in values] for name, values in columns.items()},
    }
    return template.render(
        title=title,
        bokeh=INLINE.render(),
        plot=_script_json(json_item(_plot(source, len(songs)), "plot")),
        data=_script_json(data),
        style=(here / "page.css").read_text(),
        script=(here / "page.js").read_text(),
        columns=list(columns),
        n_songs=len(songs),
    )


def colours_of(values: Sequence[Any]) -> list[str]:
    """A colour per value: shades of a scale for numbers, else one for each common group."""
    if is_scale(values):
        numbers = np.array([math.nan if value is None else value for value in values], float)
        low, high = np.nanmin(numbers), np.nanmax(numbers)
        places = (numbers - low) / max(high - low, 1e-12) * 255
        return [_OTHER if math.isnan(p) else Viridis256[round(p)] for p in places.tolist()]
    counts = Counter(value for value in values if value is not None)
    common = sorted(counts, key=lambda value: (-counts[value], value))[: len(_COLOURS)]
    colours = dict(zip(common, _COLOURS, strict=False))
    return [colours.get(value, _OTHER) for value in values]


def embedded_sound(samples: npt.NDArray[np.float32], rate_hz: int) -> str:
    """Encode mono samples as Opus in Ogg, in a data URI."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _plot(source: ColumnDataSource, n_songs: int) -> figure:
    plot = figure(
        sizing_mode="stretch_both",
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_alpha=0,
        match_aspect=True,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    plot.toolbar.logo = None
    size = max(5.0, min(16.0, 240 / math.sqrt(max(n_songs, 1))))
    points = plot.scatter(
        "x",
        "y",
        source=source,
        size=size,
        color="colour",
        alpha="alpha",
        line_color=None,
        nonselection_alpha=0.85,
        selection_line_color="#e53935",
        selection_line_width=3,
    )
    plot.add_tools(
        HoverTool(renderers=[points], tooltips=[("", "@name"), ("", "@group")]),
        TapTool(renderers=[points]),
    )
    chosen = "if (cb_obj.indices.length) { window.songMap.choose(cb_obj.indices[0], true) }"
    source.selected.js_on_change("indices", CustomJS(code=chosen))
    return plot


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _script_json(value: Any) -> str:
    """JSON that is safe inside of a script element."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028")
