"""Checkpoints that survive a kill at any moment: a corrupt one is reported and skipped."""

import logging
import os
import re
import tempfile
from collections.abc import Iterable

import tensorflow as tf

from dem import storage
from dem.access import is_remote
from dem.errors import JobError
from trainer.runtime.tensorflow_files import local_copy, local_path, writing

_LOG = logging.getLogger(__name__)

_INDEX = re.compile(r"ckpt-(\d+)\.index$")  # comes last and makes a checkpoint complete
_OURS = re.compile(r"(ckpt-\d+|checkpoint\.tmp|checkpoint$)")  # the last two: of version 0.2


class Checkpoints:
    """The newest two states of a run, in the job directory.

    All workers must save, since variables may have to communicate, but only the chief's files are
    kept: the others write to a temporary directory (see TensorFlow's guide on multi-worker
    training). TensorFlow's CheckpointManager is not used: it takes a path for a pattern, so it
    keeps all files below ``[a]`` and deletes those of other directories that match ``*``.
    """

    def __init__(self, state: tf.train.Checkpoint, directory: str, *, is_chief: bool) -> None:
        self._state, self._directory, self._is_chief = state, directory, is_chief
        self._newest = 0  # number of the newest one that is known to be good
        if is_chief:
            _delete_leftovers(directory)

    def restore_newest(self) -> bool:
        """Restore the newest checkpoint that can be read; return whether there was one.

        Raises:
            JobError: there are checkpoints, but none can be read; or the storage fails.
        """
        numbers = _complete(self._directory)
        for number in numbers:
            name = f"ckpt-{number}"
            with local_copy(self._directory, _files(self._directory, name)) as local:
                prefix = os.path.join(local, name)
                fault = _fault(prefix)
                if fault is None:
                    self._state.read(prefix).assert_existing_objects_matched()
                    self._newest = number
                    return True
            if self._is_chief:
                uri = storage.join(self._directory, name)
                _LOG.warning(f"checkpoint {uri} is corrupt ({fault}); using the previous one")
        if numbers:
            raise JobError(
                f"no checkpoint in {self._directory} can be read; restore one from a backup, or "
                "choose another --job-dir to start again"
            )
        return False

    def save(self) -> None:
        """Save the state; until that is complete, the newest checkpoint is the previous one.

        Checkpoints are numbered by saves, not steps, so a save never overwrites a good one.
        """
        name = f"ckpt-{self._newest + 1}"
        if not self._is_chief:
            with tempfile.TemporaryDirectory() as unused:
                self._state.write(os.path.join(unused, name))
            return
        self._write(name)
        kept, self._newest = {self._newest, self._newest + 1}, self._newest + 1
        for number in set(_complete(self._directory)) - kept:
            _delete(self._directory, f"ckpt-{number}")

    def _write(self, name: str) -> None:
        if not is_remote(self._directory):
            storage.make_directory(self._directory)
            with writing(self._directory), local_path(self._directory) as local:
                self._state.write(os.path.join(local, name))
            return
        with tempfile.TemporaryDirectory() as local:
            with writing(local):
                self._state.write(os.path.join(local, name))
            _copy(os.listdir(local), local, self._directory)


def copy_newest(source: str, target: str) -> None:
    """Make a run start from the newest checkpoint of another, unless it has one of its own.

    Raises:
        JobError: there is no checkpoint in `source`.
    """
    if _complete(target):
        return
    numbers = _complete(source)
    if not numbers:
        raise JobError(f"{source} holds no checkpoint to resume from; run its trial again")
    _copy(_files(source, f"ckpt-{numbers[0]}"), source, target)


def _copy(files: Iterable[str], source: str, target: str) -> None:
    for file in sorted(files, key=lambda file: file.endswith(".index")):  # which makes it complete
        storage.copy(storage.join(source, file), storage.join(target, file))


def _complete(directory: str) -> list[int]:
    """Numbers of all checkpoints with an index, newest first."""
    numbers = [int(match[1]) for match in map(_INDEX.match, storage.list_names(directory)) if match]
    return sorted(numbers, reverse=True)


def _files(directory: str, name: str) -> list[str]:
    """Names of the files of a checkpoint."""
    return [
        file
        for file in storage.list_names(directory)
        if file.startswith(f"{name}.") and not storage.intended_name(file)
    ]


def _delete(directory: str, name: str) -> None:
    """Delete a checkpoint: its index first, so that it is never taken for complete."""
    files = sorted(_files(directory, name), key=lambda file: not file.endswith(".index"))
    for file in files:
        storage.delete(storage.join(directory, file))


def _fault(prefix: str) -> str | None:
    """Describe what is wrong with a checkpoint; None if the checksum of every tensor is right."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def _delete_leftovers(directory: str) -> None:
    """Delete incomplete files that a killed run left."""
    complete = {f"ckpt-{number}" for number in _complete(directory)}
    for name in storage.list_names(directory):
        stem = name.partition(".")[0]
        if _OURS.match(name) and (stem not in complete or storage.intended_name(name)):
            storage.delete_tree(storage.join(directory, name))
