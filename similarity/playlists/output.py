"""Forms of output: a table for people, JSON and CSV for programs, playlists for players."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dem.access import is_remote
from similarity.index.songs import Song
from similarity.playlists.m3u import format_m3u, path_for, paths_of

_SHOWN = ("title", "artist", "album", "label")
_WIDEST = 40


@dataclass(frozen=True)
class Listed:
    """A song in a result, and the numbers that belong to it, by name."""

    song: Song
    numbers: dict[str, float]


def render(
    rows: Sequence[Listed], form: str, about: dict[str, Any], relative_to: str | None
) -> bytes:
    """Write results in a form: table, json, csv, m3u8 or jspf.

    Args:
        rows: in order.
        form: of the output.
        about: what JSON has beside the results.
        relative_to: directory that the paths of playlists start from; None: absolute paths.
    """
    if form == "json":
        return as_json(about)
    if form == "csv":
        return as_csv([record_of(row) for row in rows])
    songs = [row.song for row in rows]
    if form == "m3u8":
        return format_m3u(paths_of(songs, relative_to))
    if form == "jspf":
        return as_json({"playlist": {"track": [_track(song) for song in songs]}})
    return table([_cells(row) for row in rows]).encode(errors="surrogateescape")


def record_of(row: Listed) -> dict[str, Any]:
    """A result for JSON: the numbers, and what is known of the song."""
    song = row.song
    known = {name: song.value(name) for name in (*_SHOWN, "tempo", "key", "loudness")}
    return {
        "recording": song.recording,
        "uri": song.uri,
        **{name: round(value, 6) for name, value in row.numbers.items()},
        "seconds": round(song.seconds, 3),
        **{name: value for name, value in known.items() if value is not None},
    }


def table(rows: Sequence[dict[str, str]]) -> str:
    """Align columns; numbers are right-aligned, and columns without any text are left out."""
    if not rows:
        return ""
    names = [name for name in rows[-1] if any(row.get(name) for row in rows)]
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in names}
    align = {name: str.rjust if _is_number(rows[-1][name]) else str.ljust for name in names}
    lines = [dict(zip(names, names, strict=True)), *rows]
    cells = ([align[name](line.get(name, ""), widths[name]) for name in names] for line in lines)
    return "".join("  ".join(row).rstrip() + "\n" for row in cells)


def minutes(seconds: float) -> str:
    """Format a time as m:ss."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _cells(row: Listed) -> dict[str, str]:
    song = row.song
    numbers = {name: f"{value:.3f}" for name, value in row.numbers.items()}
    texts = {name: _short(str(song.value(name) or "")) for name in _SHOWN}
    return {**numbers, "length": minutes(song.seconds), "recording": song.recording, **texts}


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace(":", "").replace("-", "").isdigit()


def as_json(value: Any) -> bytes:
    """Serialise to JSON in ASCII, as file names may be invalid UTF-8."""
    return (json.dumps(value, indent=2) + "\n").encode()


def as_csv(records: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> bytes:
    """Write records under a header with these names, and all others that the records have."""
    names = list(dict.fromkeys([*names, *(name for record in records for name in record)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode(errors="surrogateescape")


def _track(song: Song) -> dict[str, Any]:
    """A track of JSPF, https://www.xspf.org/jspf: durations are in ms."""
    uri = song.uri
    if not is_remote(uri):
        uri = "file://" + quote(os.fsencode(path_for(uri, None)))
    known = {"title": song.title, "creator": song.artist, "album": song.album}
    return {
        "location": [uri],
        **{name: value for name, value in known.items() if value},
        "duration": round(song.seconds * 1000),
    }
