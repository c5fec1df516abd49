"""Checkpoints that survive a kill at any moment: a corrupt one is reported and skipped."""

import logging
import re
import tempfile

import tensorflow as tf

from dem import storage
from dem.access import is_remote
from dem.errors import JobError
from trainer.runtime.tensorflow_files import reading, writing

_LOG = logging.getLogger(__name__)

_KEPT = 2
_INDEX = re.compile(r"ckpt-(\d+)\.index$")  # TensorFlow writes it last, by renaming
_OURS = re.compile(r"(ckpt-\d+|checkpoint\.tmp)")


class Checkpoints:
    """The newest states of a run, in the job directory.

    All workers must save, since variables may have to communicate, but only the chief's files are
    kept: the others write to a temporary directory (see TensorFlow's guide on multi-worker
    training).
    """

    def __init__(self, state: tf.train.Checkpoint, directory: str, *, is_chief: bool) -> None:
        self._state, self._directory, self._is_chief = state, directory, is_chief
        if is_chief:
            own = directory
            _delete_leftovers(directory)
        else:
            self._temporary = tempfile.TemporaryDirectory()
            own = self._temporary.name
        self._manager = tf.train.CheckpointManager(state, own, max_to_keep=_KEPT)

    def restore_newest(self) -> bool:
        """Restore the newest checkpoint that can be read; return whether there was one.

        Raises:
            JobError: there are checkpoints, but none can be read; or the storage fails.
        """
        prefixes = _complete(self._directory)
        for prefix in prefixes:
            fault = _fault(prefix)
            if fault and is_remote(prefix):
                _require_files(prefix)  # raises if the storage fails, rather than the checkpoint
                fault = _fault(prefix)
            if fault is None:
                with reading(prefix):
                    self._state.restore(prefix).assert_existing_objects_matched()
                return True
            if self._is_chief:
                _LOG.warning(f"checkpoint {prefix} is corrupt ({fault}); using the previous one")
        if prefixes:
            raise JobError(
                f"no checkpoint in {self._directory} can be read; restore one from a backup, or "
                "choose another --job-dir to start again"
            )
        return False

    def save(self) -> None:
        """Save the state; until that is complete, the newest checkpoint is the previous one.

        Checkpoints are numbered by saves, not steps, so a save never overwrites one.
        """
        with writing(self._directory):
            self._manager.save()


def copy_newest(source: str, target: str) -> None:
    """Make a run start from the newest checkpoint of another, unless it has one of its own.

    Raises:
        JobError: there is no checkpoint in `source`.
    """
    if _complete(target):
        return
    prefixes = _complete(source)
    if not prefixes:
        raise JobError(f"{source} holds no checkpoint to resume from; run its trial again")
    files = _files(prefixes[0])
    for file in sorted(files, key=lambda file: file.endswith(".index")):  # which makes it complete
        storage.copy(storage.join(source, file), storage.join(target, file))


def _complete(directory: str) -> list[str]:
    """Prefixes of all checkpoints with an index, newest first; the state file may be old."""
    numbers = [int(match[1]) for match in map(_INDEX.match, storage.list_names(directory)) if match]
    return [storage.join(directory, f"ckpt-{number}") for number in sorted(numbers, reverse=True)]


def _files(prefix: str) -> list[str]:
    """Names of the files of a checkpoint."""
    directory, _, name = prefix.rpartition("/")
    return [file for file in storage.list_names(directory) if file.startswith(f"{name}.")]


def _require_files(prefix: str) -> None:
    """Read the files of a checkpoint, whatever their content.

    TensorFlow's checkpoint reader reports an outage as it reports a corrupt file.

    Raises:
        JobError: the storage refuses or fails.
    """
    directory = prefix.rpartition("/")[0]
    for file in _files(prefix):
        storage.read_bytes(storage.join(directory, file))


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
    complete = {prefix.rpartition("/")[2] for prefix in _complete(directory)}
    for name in storage.list_names(directory):
        stem = name.partition(".")[0]
        if _OURS.match(name) and stem not in complete:
            storage.delete_tree(storage.join(directory, name))
