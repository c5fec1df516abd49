"""DCASE 2018 task 5: a home with several microphone arrays (Dekkers 2018, arXiv 1807.11246).

Both sets have ``meta.txt`` (file, activity, session; tab-separated), ``evaluation_setup/`` and
``audio/``. In the development set, ``DevNode{n}_ex{s}_{k}.wav`` is segment k of node n in session
s. Files of the evaluation set are numbered; ``evaluation_setup/map.txt`` (original name, released
name) gives their nodes.
"""

import re
from dataclasses import replace

from beam_features.datasets.split import split_by_hash
from beam_features.recording import Listing, Recording, Rejection
from dem import storage
from dem.errors import InputError

_FOLDS = (1, 2, 3, 4)
_SEGMENT_S = 10.0
_NAME = re.compile(
    r"(?P<node>[A-Za-z]*Node(?P<number>\d+))_(?P<session>ex\d+)_(?P<segment>\d+)\.wav"
)
_KNOWN_NODES = ("1", "2", "3", "4")  # those of the development set
_MAP, _UNKNOWN = "evaluation_setup/map.txt", "unknown_mic_meta.txt"
_ONLY_IN_THE_EVALUATION_SET = (_MAP, _UNKNOWN, "evaluation_setup/evaluate.txt")

Rows = dict[str, tuple[str, ...]]  # the first column of a line, a file: the other columns


def list_recordings(root: str) -> Listing:
    """List the files of ``meta.txt``; a context is one node in one session.

    Partitions of the development set are the folds: a file is in the fold whose test list has it.
    Without ``evaluation_setup/``, the set is split by the hash of the session. Partitions of the
    evaluation set are ``eval-known`` and ``eval-unknown``, depending on whether the development set
    has that node, or ``eval`` if the node is not given.

    Raises:
        InputError: a list is missing or contradicts another.
    """
    meta = _read_rows(root, "meta.txt")
    for file, columns in meta.items():
        if len(columns) not in (0, 2):
            raise InputError(
                f"{_in(root, 'meta.txt')!r}: {file!r} must be followed by a label and a session, "
                f"tab-separated, not {columns}"
            )
    return (
        _evaluation_set(root, meta)
        if _is_evaluation_set(root, meta)
        else _development_set(root, meta)
    )


def _is_evaluation_set(root: str, meta: Rows) -> bool:
    """Decide by the lists: fold lists first, then lists that only the evaluation set has."""
    if any(storage.is_file(_in(root, _test_list(fold))) for fold in _FOLDS):
        return False
    if any(storage.is_file(_in(root, name)) for name in _ONLY_IN_THE_EVALUATION_SET):
        return True
    return not any(_base(file).startswith("DevNode") for file in meta)


def _development_set(root: str, meta: Rows) -> Listing:
    recordings, skipped = [], []
    folds = _read_folds(root, meta) if storage.list_files(_in(root, "evaluation_setup")) else None
    for file, columns in meta.items():
        if not (match := _NAME.fullmatch(_base(file))):
            raise InputError(f"meta.txt: {file!r} is not named like DevNode1_ex2_3.wav; rename it")
        recording = _recording(root, file, columns, match, "")
        partition = split_by_hash(recording.session_id) if folds is None else folds.get(file)
        if partition is None:
            detail = "it is in no test list of evaluation_setup/"
            skipped.append(Rejection(recording.uri, "list", "no_fold", detail))
        else:
            recordings.append(replace(recording, partition=partition))
    return Listing(tuple(recordings), tuple(skipped))


def _read_folds(root: str, meta: Rows) -> dict[str, str]:
    """Map each file to the fold whose test list has it; check all lists against ``meta.txt``."""
    folds: dict[str, str] = {}
    for fold in _FOLDS:
        name = _test_list(fold)
        for file in _read_rows(root, name):
            if file not in meta:
                raise InputError(f"{_in(root, name)!r} lists {file!r}, which meta.txt does not")
            if file in folds:
                raise InputError(
                    f"{file!r} is in the test lists of {folds[file]} and fold{fold}; keep it in one"
                )
            folds[file] = f"fold{fold}"
        for name in (f"evaluation_setup/fold{fold}_{kind}.txt" for kind in ("train", "evaluate")):
            if storage.is_file(_in(root, name)):
                _check_labels(_in(root, name), _read_rows(root, name), meta)
    return folds


def _test_list(fold: int) -> str:
    return f"evaluation_setup/fold{fold}_test.txt"


def _check_labels(uri: str, rows: Rows, meta: Rows) -> None:
    for file, columns in rows.items():
        if file not in meta:
            raise InputError(f"{uri!r} lists {file!r}, which meta.txt does not")
        if columns[:1] != meta[file][:1]:
            raise InputError(
                f"{uri!r} labels {file!r} {' '.join(columns[:1])!r}, meta.txt "
                f"{' '.join(meta[file][:1])!r}; correct one of them"
            )


def _evaluation_set(root: str, meta: Rows) -> Listing:
    originals = {}
    if storage.is_file(_in(root, _MAP)):
        originals = {
            columns[0]: file for file, columns in _read_rows(root, _MAP).items() if columns
        }
    unknown = _read_rows(root, _UNKNOWN) if storage.is_file(_in(root, _UNKNOWN)) else None
    if missing := [file for file in unknown or () if file not in meta]:
        raise InputError(f"{_in(root, _UNKNOWN)!r} lists {missing[0]!r}, which meta.txt does not")
    recordings = []
    for file, columns in meta.items():
        match = _NAME.fullmatch(_base(originals.get(file, file)))
        if unknown is not None:
            partition = "eval-unknown" if file in unknown else "eval-known"
        elif match:
            partition = "eval-known" if match["number"] in _KNOWN_NODES else "eval-unknown"
        else:
            partition = "eval"
        recordings.append(_recording(root, file, columns, match, partition))
    return Listing(tuple(recordings))


def _recording(
    root: str, file: str, columns: tuple[str, ...], match: re.Match[str] | None, partition: str
) -> Recording:
    """Derive context and offset from the original name; without one, the file is a context."""
    label, session = columns or (None, match["session"] if match else _base(file))
    return Recording(
        recording_id=_base(file),
        uri=_in(root, file),
        label=label,
        partition=partition,
        context_id=f"{match['node']}_{match['session']}" if match else _base(file),
        session_id=session,
        sensor_id=match["node"] if match else "",
        offset_s=int(match["segment"]) * _SEGMENT_S if match else 0.0,
    )


def _read_rows(root: str, name: str) -> Rows:
    """Read tab-separated lines; the first column, a file, must be unique."""
    uri = _in(root, name)
    try:
        lines = storage.read_text(uri).splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{uri!r} does not exist; --input takes the directory that holds meta.txt, audio/ and "
            "evaluation_setup/, as released"
        ) from error
    rows: Rows = {}
    for file, *columns in (line.split("\t") for line in lines if line.strip()):
        if file in rows:
            raise InputError(f"{uri!r} lists {file!r} twice; remove one of the lines")
        rows[file] = tuple(columns)
    if not rows:
        raise InputError(f"{uri!r} is empty; take it from the release")
    return rows


def _in(root: str, name: str) -> str:
    return storage.join(root, *name.split("/"))


def _base(file: str) -> str:
    return file.rpartition("/")[2]
