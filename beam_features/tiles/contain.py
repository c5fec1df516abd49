"""Whatever a recording causes stays with that recording: it is rejected, the job goes on."""

import traceback
from collections.abc import Iterable, Iterator

import numpy as np

from beam_features.schema.audio.files import Float32, RejectedRecording
from dem.errors import InputError, JobError

_NOT_OF_A_FILE = (OSError, JobError, InputError)  # of the storage or the disk


class FailedMidwayError(Exception):
    """A recording cannot be used, and tiles of it were given already."""

    def __init__(self, recording_id: str, rejection: RejectedRecording) -> None:
        super().__init__(f"{recording_id}: {rejection}")
        self.recording_id, self.rejection = recording_id, rejection


def contained(recording_id: str, tiles: Iterable[Float32]) -> Iterator[Float32]:
    """Yield the blocks of a recording's tiles; turn any error of reading them into a rejection.

    Raises:
        RejectedRecording: it cannot be used; always raised before the first block.
        FailedMidwayError: it cannot be used, which was found after the first block.
        OSError, JobError, InputError: the storage or the disk fails.
    """
    begun = False
    try:
        for block in tiles:
            _check_finite(block)
            yield block
            begun = True
    except _NOT_OF_A_FILE:
        raise
    except Exception as error:
        rejection = _rejection_of(error)
        raise (FailedMidwayError(recording_id, rejection) if begun else rejection) from error


def _check_finite(tiles: Float32) -> None:
    """Refuse values that training could not use; the checks of samples should exclude them."""
    if not np.isfinite(tiles).all():
        raise RejectedRecording("decode", "not_finite", "its log-mel has NaN or infinite values")


def _rejection_of(error: Exception) -> RejectedRecording:
    if isinstance(error, RejectedRecording):
        return error
    last_line = traceback.format_exception_only(error)[-1].strip()
    return RejectedRecording("decode", "failed", last_line)
