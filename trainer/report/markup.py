"""Pieces of a page: text in, HTML out. What is not markup already is escaped."""

import base64
import math
import struct
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

_MOST_ROWS = 30  # a longer table scrolls in a box of its own
_NOTHING = Markup("")
_BEST = Markup(' class="best"')
_SINGLE = Markup(' class="single"')
_NUMBER = Markup(' class="number"')

Cell = str | float | int | None


def join(parts: Iterable[str]) -> Markup:
    """Put pieces one after the other."""
    return Markup("\n").join(parts)


def section(heading: str, *parts: str) -> Markup:
    """Make a part of the page; none where there is nothing in it."""
    body = join(part for part in parts if part)
    return Markup("<section>\n<h2>{}</h2>\n{}\n</section>").format(heading, body) if body else body


def paragraph(text: str) -> Markup:
    """Make a paragraph of small print."""
    return Markup('<p class="faint">{}</p>').format(text)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Cell]], *, best: int | None = None
) -> Markup:
    """Lay out rows; numbers stand on the right, and row `best` stands out."""
    lines, numeric = [], [True] * len(header)
    for index, row in enumerate(rows):
        numeric = [
            was and not isinstance(cell, str) for was, cell in zip(numeric, row, strict=True)
        ]
        cells = _NOTHING.join(map(_cell, row))
        lines.append(Markup("<tr{}>{}</tr>").format(_BEST if index == best else _NOTHING, cells))
    heads = _NOTHING.join(
        Markup('<th scope="col"{}>{}</th>').format(_on_the_right(number), name)
        for name, number in zip(header, numeric, strict=True)
    )
    return Markup(
        '<div class="wide{}"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>\n'
        "</table></div>"
    ).format(" long" if len(lines) > _MOST_ROWS else "", heads, join(lines))


def figure(png: bytes, caption: str, *, single: bool = False) -> Markup:
    """Show a PNG file, which becomes part of the page."""
    width, height = struct.unpack(">II", png[16:24])
    return Markup(
        '<figure{}><img alt="{}" width="{}" height="{}" src="data:image/png;base64,{}">'
        "<figcaption>{}</figcaption></figure>"
    ).format(
        _SINGLE if single else _NOTHING,
        caption,
        width,
        height,
        base64.b64encode(png).decode(),
        caption,
    )


def side_by_side(pieces: Iterable[str]) -> Markup:
    """Show pieces side by side where there is room; nothing where there are none."""
    shown = join(piece for piece in pieces if piece)
    return Markup('<div class="side-by-side">\n{}\n</div>').format(shown) if shown else shown


def format_number(value: float | None) -> str:
    """Write a score with three decimals, a count with thin spaces, nothing or NaN as a dash."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}"


def _cell(value: Cell) -> Markup:
    text = escape(value) if isinstance(value, str) else format_number(value)
    return Markup("<td{}>{}</td>").format(_on_the_right(not isinstance(value, str)), text)


def _on_the_right(yes: bool) -> Markup:  # noqa: FBT001
    return _NUMBER if yes else _NOTHING
