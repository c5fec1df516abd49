"""Names and labels: brought to one form everywhere, and checked before they become files."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from dem import storage
from dem.access import is_remote

_BLANKS = r"[\s\u200b\u2060\ufeff]+"  # with those of no width, such as a byte-order mark
_AROUND = re.compile(rf"\A{_BLANKS}|{_BLANKS}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_PARTITION = re.compile(r"\w[\w.-]*")
_LONGEST_PARTITION = 100  # bytes: of a file name, which has 255, with the number of a shard


class Notes:
    """What was changed while a dataset was listed, in a line per column.

    Args:
        unit: what is counted.
    """

    def __init__(self, unit: str = "row") -> None:
        self._unit = unit
        self._others: list[str] = []
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, str]] = {}

    def clean(self, column: str, text: str) -> str:
        """Normalise a cell; note it if that changed it, unless it was nothing but blanks."""
        cleaned = normalise(text)
        if cleaned:
            self.compare(column, text, cleaned)
        return cleaned

    def compare(self, column: str, before: str, after: str) -> None:
        """Note a change, if there is one."""
        if before != after:
            self._counts[column] += 1
            self._examples.setdefault(column, (before, after))

    def add(self, remark: str) -> None:
        """Note something else."""
        self._others.append(remark)

    def lines(self) -> tuple[str, ...]:
        """Return the notes."""
        changed = (
            f"{column}: {count} {self._unit}{'' if count == 1 else 's'} normalised, such as "
            f"{_show(*self._examples[column])}"
            for column, count in self._counts.items()
        )
        return (*self._others, *changed)


def normalise(text: str) -> str:
    """Strip blanks, also invisible ones, compose letters and accents (NFC), join lines."""
    return _CONTROL.sub(" ", _AROUND.sub("", unicodedata.normalize("NFC", text)))


def has_control(text: str) -> bool:
    """Whether there is a line break or another control character within a text."""
    return _CONTROL.search(_AROUND.sub("", text)) is not None


def fault_of_partition(name: str) -> str | None:
    """Say why a partition cannot have this name: file names, and patterns of them, begin with it.

    The text goes on after ``partition 'name'``.
    """
    if not _PARTITION.fullmatch(name):
        return "may only have letters, digits, '_', '-', '.'"
    if len(name.encode()) > _LONGEST_PARTITION:
        return f"may have at most {_LONGEST_PARTITION} bytes"
    return None


def is_inside(name: str) -> bool:
    """Whether a path of a table stays below the directory of the dataset on every system."""
    parts = name.split("/")
    return not (is_remote(name) or "\\" in name or any(part in ("", ".", "..") for part in parts))


def find_files(
    names: Sequence[tuple[str, str]], locate: Callable[[str], str], notes: Notes
) -> list[str]:
    """Return the URI of each file, spelled as its storage does, which compares byte for byte.

    A file that is there in no spelling keeps the normalised one.

    Args:
        names: of each file: as written in the table, and normalised.
        locate: from a name to its URI.
        notes: told of files that have another Unicode form than in the table.
    """
    spellings = [
        list(dict.fromkeys((written, name, unicodedata.normalize("NFD", name))))
        for written, name in names
    ]
    unsure = {locate(name) for forms in spellings if len(forms) > 1 for name in forms}
    present = storage.file_versions(sorted(unsure))
    found = [
        next((form for form in forms if locate(form) in present), name)
        for forms, (_, name) in zip(spellings, names, strict=True)
    ]
    other = [(*pair, form) for pair, form in zip(names, found, strict=True) if form not in pair]
    if other:
        notes.add(
            f"{len(other)} of the files are stored in another Unicode form than in the table, "
            f"such as {other[0][2]!a}"
        )
    return [locate(form) for form in found]


def alike(kind: str, names: Iterable[str]) -> list[str]:
    """Remark on names of a kind, such as labels, that differ only by case."""
    by_case: dict[str, set[str]] = defaultdict(set)
    for name in names:
        by_case[name.casefold()].add(name)
    return [
        f"{kind} that differ only by case: {', '.join(map(repr, sorted(same)))}; they stay apart"
        for _, same in sorted(by_case.items())
        if len(same) > 1
    ]


def _show(before: str, after: str) -> str:
    """Both texts; in ASCII where a reader could not tell them apart."""
    show = repr if unicodedata.normalize("NFC", before) == before else ascii
    return f"{show(before)} to {show(after)}"
