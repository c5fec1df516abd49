"""The one strict reader of tables, as people and spreadsheets save them.

What has one meaning is read: UTF-8 with or without a byte-order mark; commas, semicolons or tabs
between cells; any line ends; blank lines; blanks around cells. All else is an InputError that names
file, line and column: half a table is worse than none.
"""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, TextIO

from beam_features.datasets.names import Notes, has_control, normalise
from dem import storage
from dem.access import forbidden
from dem.errors import InputError, did_you_mean

SEPARATORS = ",;\t"
_LONGEST_CELL = 1 << 24  # biographies of FMA exceed the default limit of Python's reader
_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")  # surrogates stand for bytes that are not UTF-8
_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a spreadsheet or a zip archive",
    b"\x1f\x8b": "compressed",
}

Line = tuple[int, list[str]]
"""Number of the line that a row begins at, and its cells."""


@dataclass(frozen=True)
class Row:
    """A row without its empty cells."""

    table: str
    line: int
    cells: Mapping[str, str]  # by column, normalised
    written: Mapping[str, str]  # as they are in the table

    def need(self, column: str) -> str:
        """Return a cell that must not be empty."""
        if column not in self.cells:
            raise self.fault(column, "the cell is empty; fill it, or remove the row")
        return self.cells[column]

    def fault(self, column: str, why: str) -> InputError:
        """Make an error that says where."""
        return _fault(self.table, self.line, column, why)


def read_table(
    uri: str, known: Collection[str], required: Sequence[str], notes: Notes, remedy: str
) -> tuple[list[str], Iterator[Row]]:
    """Read a table with a header; return its columns, and its rows one at a time.

    Args:
        uri: of the table.
        known: columns whose names are recognised in upper and lower case; others are free text.
        required: those of them that a table must have; the first is unique, a key.
        notes: told what was changed.
        remedy: what ``--input`` takes, where there is no such file.
    """
    lines = read_lines(uri, remedy, required)
    number, header = next(lines, (1, []))
    columns = _columns(uri, number, header, known, required, notes)
    rows = make_rows(uri, lines, columns, notes, free={*columns} - {*known})
    return columns, check_rows(uri, rows, required[0])


def read_lines(
    uri: str, remedy: str, expected: Collection[str] = (), separators: str = SEPARATORS
) -> Iterator[Line]:
    """Yield the rows that are not blank, the header included.

    The separator is the first with which the first row has all `expected` cells.

    Raises:
        InputError: there is no such file, it is another format, or its quotes do not match.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with _open(uri, remedy) as text:
            first = next((line for line in text if normalise(line)), "")
            text.seek(0)
            separator = _separator(first, expected, separators)
            yield from _parse(uri, csv.reader(text, delimiter=separator, strict=True))
    finally:
        csv.field_size_limit(limit)


def make_rows(
    uri: str,
    lines: Iterable[Line],
    columns: Sequence[str | None],
    notes: Notes,
    free: Collection[str] = (),
) -> Iterator[Row]:
    """Give cells their columns and normalise them.

    Args:
        uri: of the table.
        lines: its rows.
        columns: name of each; None: not wanted.
        notes: told what was changed.
        free: columns of free text, in which a line break is no sign of a missing quote.
    """
    for line, cells in lines:
        _check_cells(uri, line, cells, columns)
        written = {name: cell for name, cell in zip(columns, cells, strict=True) if name}
        for name, cell in written.items():
            if name not in free and has_control(cell):
                why = f"a line break or another control character in {cell!r}; check the quotes"
                raise _fault(uri, line, name, why)
        cleaned = {name: notes.clean(name, cell) for name, cell in written.items()}
        yield Row(uri, line, {name: cell for name, cell in cleaned.items() if cell}, written)


def check_rows(uri: str, rows: Iterable[Row], key: str) -> Iterator[Row]:
    """Pass rows on; refuse a key that is missing or there twice, and a table without rows."""
    seen: dict[str, int] = {}
    for row in rows:
        name = row.need(key)
        if name in seen:
            raise row.fault(key, f"{name!r} is in line {seen[name]} too; remove one of the rows")
        seen[name] = row.line
        yield row
    if not seen:
        raise InputError(f"{uri!r} has no rows below its header; add a row per recording")


def _columns(
    uri: str,
    line: int,
    header: Sequence[str],
    known: Collection[str],
    required: Sequence[str],
    notes: Notes,
) -> list[str]:
    """Name the columns as the known ones are; each must have a name of its own."""
    if not header:
        raise InputError(f"{uri!r} is empty; its first line must have {', '.join(required)}")
    _check_cells(uri, line, header, [None] * len(header))
    by_case = {name.casefold(): name for name in known}
    columns: list[str] = []
    for number, cell in enumerate(header, start=1):
        name = by_case.get(normalise(cell).casefold(), normalise(cell))
        if not name:
            raise _fault(uri, line, str(number), "it has no name; name it or remove it")
        if name.casefold() in (other.casefold() for other in columns):
            raise _fault(uri, line, str(number), f"a second {name!r}; rename or remove it")
        if name != cell:
            notes.add(f"column {cell!r} is read as {name!r}")
        columns.append(name)
    if missing := [name for name in required if name not in columns]:
        raise InputError(
            f"{uri!r}, line {line}: no column {', '.join(missing)} among {', '.join(columns)}; "
            f"the table must have {', '.join(required)}{did_you_mean(missing[0], columns)}"
        )
    return columns


def _check_cells(uri: str, line: int, cells: Sequence[str], columns: Sequence[str | None]) -> None:
    """Refuse cells that are no text, or not as many as there are columns."""
    names = [name or str(number) for number, name in enumerate(columns, start=1)]
    if len(cells) > len(names):
        why = f"{len(cells)} cells in a row of {len(names)}; quote cells that have separators"
        raise _fault(uri, line, str(len(names) + 1), why)
    if len(cells) < len(names):
        why = f"the row has {len(cells)} of {len(names)} cells; the table may be truncated"
        raise _fault(uri, line, names[len(cells)], why)
    if _NOT_TEXT.search("".join(cells)):
        name, match = next(
            (name, match)
            for name, cell in zip(names, cells, strict=True)
            if (match := _NOT_TEXT.search(cell))
        )
        byte = ord(match[0]) & 0xFF
        why = f"byte 0x{byte:02x} is not UTF-8 text; save the table as CSV in UTF-8"
        raise _fault(uri, line, name, why)


def _parse(uri: str, reader: Any) -> Iterator[Line]:
    begin = 1
    try:
        for cells in reader:
            if any(map(normalise, cells)):
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{uri!r}, line {reader.line_num}, in the row that begins at line {begin}: {error}; "
            "check the quotes"
        ) from error


def _separator(first: str, expected: Collection[str], separators: str) -> str:
    def cells(separator: str) -> set[str]:
        (row,) = csv.reader([first], delimiter=separator)
        return {normalise(cell).casefold() for cell in row}

    wanted = {name.casefold() for name in expected}
    return next((one for one in separators if cells(one) >= wanted), separators[0])


@contextmanager
def _open(uri: str, remedy: str) -> Iterator[TextIO]:
    """Open a table, line ends as stored, without the mark in front."""
    try:
        with storage.open_binary(uri) as file:
            head = file.read(4)
            for mark, name in _OTHER_FORMATS.items():
                if head.startswith(mark):
                    raise InputError(f"{uri!r} is {name}; save it as CSV in UTF-8")
            file.seek(0)
            with TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
                yield text
    except IsADirectoryError as error:
        raise InputError(f"{uri!r} is a directory; {remedy}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{uri!r} does not exist; {remedy}") from error
    except PermissionError as error:
        raise forbidden(uri, "read") from error


def _fault(uri: str, line: int, column: str, why: str) -> InputError:
    return InputError(f"{uri!r}, line {line}, column {column}: {why}")
