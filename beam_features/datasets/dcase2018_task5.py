"""DCASE 2018 task 5: a home with several microphone arrays (Dekkers 2018, arXiv 1807.11246).

Both sets have ``meta.txt`` (file, activity, session; tab-separated), ``evaluation_setup/`` and
``audio/``. In the development set, ``DevNode{n}_ex{s}_{k}.wav`` is segment k of node n in session
s. Files of the evaluation set are numbered; ``evaluation_setup/map.txt`` (original name, released
name) gives their nodes. Side by side, the two sets are one dataset.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from beam_features.datasets.names import Notes, find_files, is_inside
from beam_features.datasets.rows import Row, check_rows, make_rows, read_lines
from beam_features.datasets.split import draw_partitions
from beam_features.recording import Listing, Recording, Rejection
from dem import storage
from dem.errors import InputError

_FOLDS = (1, 2, 3, 4)
_SEGMENT_S = 10.0
_NAME = re.compile(
    r"(?P<node>[A-Za-z]*Node(?P<number>\d+))_(?P<session>ex\d+)_(?P<segment>\d+)\.wav"
)
_KNOWN_NODES = ("1", "2", "3", "4")  # those of the development set
_SETS = {  # directories, as released, and what goes before a session: both sets number from 1
    "DCASE2018-task5-dev": "",
    "DCASE2018-task5-eval": "eval-",
}
_MAP, _UNKNOWN = "evaluation_setup/map.txt", "unknown_mic_meta.txt"
_ONLY_IN_THE_EVALUATION_SET = (_MAP, _UNKNOWN, "evaluation_setup/evaluate.txt")
_COLUMNS = ("file", "label", "session")  # of all lists but the map; they have no header

Rows = Mapping[str, Row]  # by file


def list_recordings(root: str) -> Listing:
    """List one of the sets, or both where a directory holds them side by side.

    Raises:
        InputError: see `_list_set`.
    """
    homes = {storage.join(root, name): prefix for name, prefix in _SETS.items()}
    present = {home: prefix for home, prefix in homes.items() if storage.is_directory(home)}
    if not present:
        return _list_set(root)
    listings = [(_list_set(home), prefix) for home, prefix in present.items()]
    return Listing(
        tuple(
            replace(recording, session_id=prefix + recording.session_id)
            for listing, prefix in listings
            for recording in listing.recordings
        ),
        tuple(rejection for listing, _ in listings for rejection in listing.skipped),
        tuple(remark for listing, _ in listings for remark in listing.remarks),
    )


def _list_set(root: str) -> Listing:
    """List the files of ``meta.txt``; a context is one node in one session.

    Partitions of the development set are the folds: a file is in the fold whose test list has it.
    Without ``evaluation_setup/``, the set is split by the hash of the session. Partitions of the
    evaluation set are ``eval-known`` and ``eval-unknown``, depending on whether the development set
    has that node, or ``eval`` if the node is not given.

    Raises:
        InputError: a list is missing or invalid, or contradicts another.
    """
    notes = Notes()
    meta = _read_rows(root, "meta.txt", notes)
    for row in meta.values():
        if "label" in row.written:
            row.need("session")
    names = [(row.written["file"], file) for file, row in meta.items()]
    uris = dict(zip(meta, find_files(names, lambda name: _in(root, name), notes), strict=True))
    is_evaluation_set = _is_evaluation_set(root, meta)
    listing = (_evaluation_set if is_evaluation_set else _development_set)(root, meta, uris, notes)
    return replace(listing, remarks=notes.lines())


def _is_evaluation_set(root: str, meta: Rows) -> bool:
    """Decide by the lists: fold lists first, then lists that only the evaluation set has."""
    if any(storage.is_file(_in(root, _test_list(fold))) for fold in _FOLDS):
        return False
    if any(storage.is_file(_in(root, name)) for name in _ONLY_IN_THE_EVALUATION_SET):
        return True
    return not any(_base(file).startswith("DevNode") for file in meta)


def _development_set(root: str, meta: Rows, uris: Mapping[str, str], notes: Notes) -> Listing:
    recordings, skipped = [], []
    has_folds = bool(storage.list_files(_in(root, "evaluation_setup")))
    folds = _read_folds(root, meta, notes) if has_folds else dict.fromkeys(meta, "")
    for file, row in meta.items():
        if not (match := _NAME.fullmatch(_base(file))):
            raise row.fault("file", f"{file!r} is not named like DevNode1_ex2_3.wav; rename it")
        if file not in folds:
            detail = "it is in no test list of evaluation_setup/"
            skipped.append(Rejection(uris[file], "list", "no_fold", detail))
        else:
            recordings.append(_recording(row, uris[file], match, folds[file]))
    return Listing(draw_partitions(recordings), tuple(skipped))


def _read_folds(root: str, meta: Rows, notes: Notes) -> dict[str, str]:
    """Map each file to the fold whose test list has it; check all lists against ``meta.txt``."""
    folds: dict[str, str] = {}
    for fold in _FOLDS:
        for file, row in _read_rows(root, _test_list(fold), notes).items():
            _check_listed(row, meta)
            if file in folds:
                why = f"{file!r} is in the test list of {folds[file]} too; keep it in one"
                raise row.fault("file", why)
            folds[file] = f"fold{fold}"
        for name in (f"evaluation_setup/fold{fold}_{kind}.txt" for kind in ("train", "evaluate")):
            if storage.is_file(_in(root, name)):
                for row in _read_rows(root, name, notes).values():
                    _check_listed(row, meta)
                    _check_label(row, meta)
    return folds


def _test_list(fold: int) -> str:
    return f"evaluation_setup/fold{fold}_test.txt"


def _check_listed(row: Row, meta: Rows) -> None:
    if row.cells["file"] not in meta:
        raise row.fault("file", f"{row.cells['file']!r} is not in meta.txt; correct one of them")


def _check_label(row: Row, meta: Rows) -> None:
    here, there = row.cells.get("label"), meta[row.cells["file"]].cells.get("label")
    if here != there:
        why = f"{here!r} for {row.cells['file']!r}, in meta.txt {there!r}; correct one of them"
        raise row.fault("label", why)


def _evaluation_set(root: str, meta: Rows, uris: Mapping[str, str], notes: Notes) -> Listing:
    originals = {}
    if storage.is_file(_in(root, _MAP)):
        rows = _read_rows(root, _MAP, notes, ("original", "file"))
        originals = {file: row.cells["original"] for file, row in rows.items()}
    unknown = None
    if storage.is_file(_in(root, _UNKNOWN)):
        unknown = _read_rows(root, _UNKNOWN, notes)
        for row in unknown.values():
            _check_listed(row, meta)
    recordings = []
    for file, row in meta.items():
        match = _NAME.fullmatch(_base(originals.get(file, file)))
        if unknown is not None:
            partition = "eval-unknown" if file in unknown else "eval-known"
        elif match:
            partition = "eval-known" if match["number"] in _KNOWN_NODES else "eval-unknown"
        else:
            partition = "eval"
        recordings.append(_recording(row, uris[file], match, partition))
    return Listing(tuple(recordings))


def _recording(row: Row, uri: str, match: re.Match[str] | None, partition: str) -> Recording:
    """Derive context and offset from the original name; without one, the file is a context.

    Without a partition, it will be drawn.
    """
    name = _base(row.cells["file"])
    return Recording(
        recording_id=name,
        uri=uri,
        label=row.cells.get("label"),
        partition=partition,
        context_id=f"{match['node']}_{match['session']}" if match else name,
        session_id=row.cells.get("session", match["session"] if match else name),
        sensor_id=match["node"] if match else "",
        offset_s=int(match["segment"]) * _SEGMENT_S if match else 0.0,
        drawn=not partition,
    )


def _read_rows(
    root: str, name: str, notes: Notes, columns: Sequence[str] = _COLUMNS
) -> dict[str, Row]:
    """Read tab-separated lines, each with as many of `columns` as the first, by ``file``."""
    uri = _in(root, name)
    remedy = (
        "--input takes the directory that holds meta.txt, audio/ and evaluation_setup/, as "
        f"released, or the one that holds {' and '.join(_SETS)}"
    )
    lines = list(read_lines(uri, remedy, separators="\t"))
    if not lines:
        raise InputError(f"{uri!r} is empty; take it from the release")
    rows = make_rows(uri, lines, columns[: len(lines[0][1])], notes)
    for key in {columns[0], "file"}:
        rows = check_rows(uri, rows, key)
    found = {row.cells["file"]: row for row in rows}
    for file, row in found.items():
        if not (is_inside(file) and file.lower().endswith(".wav")):
            why = (
                f"{file!r} must be a file such as audio/1.wav, separated from other cells by a tab"
            )
            raise row.fault("file", why)
    return found


def _in(root: str, name: str) -> str:
    return storage.join(root, *name.split("/"))


def _base(file: str) -> str:
    return file.rpartition("/")[2]
