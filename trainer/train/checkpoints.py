"""Checkpoints that survive a kill at any moment: a corrupt one is reported and skipped.

A checkpoint is a file ``ckpt-N.npz`` with an array for each variable. It appears complete or not at
all, and the CRCs of the zip format tell whether it is still what was written. The steps stop only
while the variables are copied into the memory of the host; a thread writes the copy.
"""

import io
import logging
import math
import re
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dem import storage
from dem.errors import InputError, JobError, first_line
from dem.guard import Phase, phase
from trainer.runtime.tensorflow_files import writing

_LOG = logging.getLogger(__name__)

_FILE = re.compile(r"ckpt-(\d+)\.npz")
_EARLIER = re.compile(r"ckpt-\d+\.index")  # of TensorFlow's format
_NAMES = "names"  # an array of the names of all others: a wrong byte can hide one

Variables = Mapping[str, Any]
"""Variables of TensorFlow or Keras by name; every process that resumes gives them the same."""
Arrays = dict[str, npt.NDArray[Any]]


class Checkpoints:
    """The newest two states of a run, in the job directory; only the chief writes.

    As a context manager it measures the time from its beginning on, and waits at its end for what
    is being written. What goes wrong in the thread that writes is raised by the next call.
    """

    def __init__(
        self, variables: Variables, directory: str, *, is_chief: bool, every_s: float
    ) -> None:
        self._variables, self._directory = variables, directory
        self._is_chief, self._every_s = is_chief, every_s
        self._newest = 0  # number of the newest one that is known to be good
        self._saved_at = math.inf
        self._write: Future[None] | None = None
        if is_chief:
            _delete_leftovers(directory)

    def __enter__(self) -> Self:
        self._saved_at = time.monotonic()  # of what was restored there is a checkpoint
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.wait()
        except (InputError, JobError) as failure:
            if error is None:
                raise
            _LOG.error(str(failure))  # the first error is the one to raise

    def restore_newest(self) -> bool:
        """Restore the newest checkpoint that can be read; return whether there was one.

        Raises:
            InputError: it is of another model, or of an earlier version.
            JobError: there are checkpoints, but none can be read; or the storage fails.
        """
        found = _read_newest(self._directory, report=self._is_chief)
        if found is None:
            return False
        self._newest, arrays = found
        _require_fit(arrays, self._variables, _uri(self._directory, self._newest))
        for name, variable in self._variables.items():
            variable.assign(arrays[name])
        return True

    def is_due(self) -> bool:
        """Whether it is time to save again, and nothing is being written.

        Raises:
            JobError: the last checkpoint could not be written.
        """
        if self._write and not self._write.done():
            return False
        self.wait()
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self) -> None:
        """Copy the state and start to write it; until it is complete, the previous one counts.

        Checkpoints are numbered by saves, not steps, so a save never overwrites a good one.

        Raises:
            JobError: the last checkpoint could not be written.
        """
        self.wait()
        self._saved_at = time.monotonic()
        if self._is_chief:
            arrays = {name: variable.numpy() for name, variable in self._variables.items()}
            thread = ThreadPoolExecutor(1, "checkpoint")
            self._write = thread.submit(_write, self._directory, self._newest, arrays)
            thread.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until the last checkpoint is complete.

        Raises:
            JobError: it could not be written.
        """
        write, self._write = self._write, None
        if write:
            with phase(Phase.SAVES):
                write.result()
            self._newest += 1


def list_checkpoints(directory: str) -> list[int]:
    """Numbers of the checkpoints in a directory, newest first.

    Raises:
        InputError: they are of version 0.3 or earlier.
    """
    names = storage.list_names(directory)
    if any(map(_EARLIER.fullmatch, names)):
        raise InputError(
            f"{directory} holds checkpoints of version 0.3 or earlier, which this version cannot "
            "resume from; choose another --job-dir, finish the run with the version that began "
            "it, or delete them to start again"
        )
    return sorted((int(match[1]) for match in map(_FILE.fullmatch, names) if match), reverse=True)


def copy_newest(source: str, target: str) -> None:
    """Make a run start from the newest checkpoint of another, unless it has one of its own.

    Raises:
        InputError: a checkpoint is of an earlier version.
        JobError: there is no checkpoint in `source`, or none can be read.
    """
    if list_checkpoints(target):
        return
    found = _read_newest(source)
    if found is None:
        raise JobError(f"{source} holds no checkpoint to resume from; run its trial again")
    storage.copy(_uri(source, found[0]), _uri(target, found[0]))


def _uri(directory: str, number: int) -> str:
    return storage.join(directory, f"ckpt-{number}.npz")


def _write(directory: str, newest: int, arrays: Arrays) -> None:
    """Write the next checkpoint; keep it and the newest one so far, delete all others."""
    uri = _uri(directory, newest + 1)
    entries: dict[str, Any] = {_NAMES: np.array(list(arrays)), **arrays}
    with writing(uri), storage.atomic_write(uri) as file:
        np.savez(file, **entries)
    obsolete = set(list_checkpoints(directory)) - {newest, newest + 1}
    storage.delete(*(_uri(directory, number) for number in obsolete))


def _read_newest(directory: str, *, report: bool = True) -> tuple[int, Arrays] | None:
    """Number and arrays of the newest checkpoint that is not corrupt; None if there is none.

    Raises:
        InputError: see `list_checkpoints`.
        JobError: all are corrupt, or the storage fails.
    """
    numbers = list_checkpoints(directory)
    for number in numbers:
        uri = _uri(directory, number)
        content = storage.read_bytes(uri)
        try:
            return number, _parse(content)
        except Exception as error:  # of bytes in memory: whatever it is, they are wrong
            why = first_line(error)
            if report:
                _LOG.warning(f"checkpoint {uri} is corrupt ({why}); using the previous one")
    if numbers:
        raise JobError(
            f"no checkpoint in {directory} can be read; restore one from a backup, or "
            "choose another --job-dir to start again"
        )
    return None


def _parse(content: bytes) -> Arrays:
    """Read the arrays of a checkpoint; raises some exception where a byte is wrong."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # reading an entry checks its CRC
        arrays = {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    names = arrays.pop(_NAMES).tolist()
    if names != list(arrays):
        raise ValueError(f"it holds {len(arrays)} of {len(names)} arrays")
    return arrays


def _require_fit(arrays: Arrays, variables: Variables, uri: str) -> None:
    """Bring arrays of types that NumPy does not know, such as bfloat16, to those of the variables.

    Raises:
        InputError: a name, type or shape differs.
    """
    types = {name: tf.as_dtype(variable.dtype) for name, variable in variables.items()}
    for name, array in arrays.items():
        if name in types and array.dtype.kind == "V" and array.itemsize == types[name].size:
            arrays[name] = array.view(types[name].as_numpy_dtype)
    there = {name: f"{array.dtype.name} {[*array.shape]}" for name, array in arrays.items()}
    here = {name: f"{types[name].name} {[*variables[name].shape]}" for name in variables}
    for name in (*here, *there):
        if (one := there.get(name, "missing")) != (other := here.get(name, "missing")):
            raise InputError(
                f"{uri} is of another model: {name} is {one} there and {other} here; use the "
                "encoder and the version that began the run, or choose another --job-dir"
            )


def _delete_leftovers(directory: str) -> None:
    """Delete what a write left that was killed."""
    for name in storage.list_names(directory):
        if _FILE.fullmatch(storage.intended_name(name) or ""):
            storage.delete(storage.join(directory, name))
