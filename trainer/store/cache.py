"""Frame stores on a local disk: made once, and shared by processes and later runs.

``CACHE/<digest>/`` holds ``frames`` (float16 ``[n_frames, n_mels]``), ``index.npz`` and
``store.json``. It appears complete or not at all. One process makes it, and others wait for it.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dem.access import unwritable
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.store.fill import Frames, bytes_of, fill
from trainer.store.index import Index, dump_index, load_index

_VERSION = 1  # of the format and of the index's rules
_FRAMES, _INDEX, _ABOUT = "frames", "index.npz", "store.json"
# mmap.MAP_NORESERVE from Python 3.13 on. Without it, Linux refuses a private copy of a file that is
# larger than the memory, though no page of it is ever written.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def open_cached(
    features: Features,
    partitions: Sequence[str],
    corrupt: CorruptRecords,
    cache_dir: str,
) -> tuple[Frames, Index]:
    """Map the frames of some partitions from a file; make it if there is none.

    Raises:
        InputError: see `trainer.store.fill.fill`.
        JobError: the disk is full, or see there.
    """
    home = Path(cache_dir) / _digest(features, partitions)
    with _locked(home.with_suffix(".lock")):
        if not _is_complete(home):
            _make(home, features, partitions, corrupt)
    about = json.loads((home / _ABOUT).read_text())
    corrupt.recall(features.shard_uris(partitions), about["corrupt"])
    index = load_index(np.load(io.BytesIO((home / _INDEX).read_bytes())))
    shape = int(index.first[-1]), features.info.feature_spec.n_mels
    return map_frames(home / _FRAMES, shape), index


def map_frames(path: Path, shape: tuple[int, int], *, shared: bool = False) -> Frames:
    """Map a file; what is written changes the file if `shared`, else only this process.

    TensorFlow takes only memory that may be written.
    """
    if not shape[0]:
        return np.empty(shape, np.float16)
    flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE | _NO_RESERVE
    with path.open("r+b" if shared else "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(pages, np.float16).reshape(shape)


def _digest(features: Features, partitions: Sequence[str]) -> str:
    """Digest of the shards and of how they are laid out."""
    content = json.dumps([_VERSION, [(name, features.digest(name)) for name in partitions]])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other processes of this host; a killed one frees the lock."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what cannot be written, and the remedy."""
    try:
        yield
    except OSError as error:
        raise unwritable(str(path), error.strerror or str(error)) from error


def _is_complete(home: Path) -> bool:
    """Whether a store is there, with an index and frames as they were written."""
    try:
        about = json.loads((home / _ABOUT).read_text())
        index = (home / _INDEX).read_bytes()
        found = hashlib.sha256(index).hexdigest(), (home / _FRAMES).stat().st_size
        return bool(found == (about["index_sha256"], about["frames_bytes"]))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _make(
    home: Path, features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> None:
    """Make a store in a temporary directory, then give it its name."""
    with _writing(home):
        shutil.rmtree(home, ignore_errors=True)
        for leftover in home.parent.glob(f"{home.name}.*.tmp"):  # of a killed process: we are alone
            shutil.rmtree(leftover)
        temporary = home.with_name(f"{home.name}.{uuid.uuid4().hex}.tmp")
        temporary.mkdir()
    try:
        path = temporary / _FRAMES
        frames, index = fill(features, partitions, corrupt, lambda shape: _create(path, shape))
        places = corrupt.places(features.shard_uris(partitions))
        about = {"features": features.uri, "partitions": list(partitions), "corrupt": places}
        with _writing(home):
            os.truncate(path, frames.nbytes)
            _write_index(temporary, index, about | {"frames_bytes": frames.nbytes})
            temporary.rename(home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_index(home: Path, index: Index, about: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dump_index(index)
    np.savez(buffer, **arrays)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    (home / _INDEX).write_bytes(buffer.getvalue())
    (home / _ABOUT).write_text(json.dumps({**about, "index_sha256": digest}))
    for name in (_FRAMES, _INDEX, _ABOUT):
        with (home / name).open("rb") as file:
            os.fsync(file.fileno())


def _create(path: Path, shape: tuple[int, int]) -> Frames:
    """Make a file of the size, so that a full disk is noticed before anything is read."""
    size = bytes_of(shape)
    with _writing(path), path.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)
    return map_frames(path, shape, shared=True)
