"""The labelling command: a classifier run and audio files in, a row of CSV per recording out."""

import csv
import logging
from collections.abc import Sequence
from typing import TextIO

from threadpoolctl import threadpool_limits

from beam_features.schema.audio.files import RejectedRecording
from dem.errors import JobError
from trainer.classify.labeller import Labeller
from trainer.data.audio_files import find_recordings, represent_recording

_LOG = logging.getLogger(__name__)


def label_recordings(run: str, inputs: Sequence[str], output: TextIO) -> None:
    """Write the label and all posteriors of each recording as soon as they are computed.

    Args:
        run: directory of a classifier run.
        inputs: audio files, or directories of them.
        output: for the table.

    Raises:
        InputError: there is no such run or input.
        JobError: recordings could not be labelled; the others were.
    """
    labeller = Labeller.open(run)
    recordings = find_recordings(inputs, "FILE").recordings
    names = labeller.label_names
    table = csv.writer(output, lineterminator="\n")
    table.writerow(["recording", "label", *(f"p_{name}" for name in names)])
    failed = 0
    for recording, uri in recordings.items():
        try:
            with threadpool_limits(1, "blas"):  # for products as small as the mel filters'
                sound = represent_recording(
                    uri, labeller.spec, labeller.represent, labeller.overlap
                )
        except RejectedRecording as why:
            _LOG.warning(f"failed: {uri}: {why.reason}: {why.detail}")
            failed += 1
            continue
        tiles = sound.vectors.reshape(-1, sound.vectors.shape[-1])
        posteriors = labeller.posteriors(tiles, sound.audible.ravel())
        label = names[posteriors.argmax()]
        table.writerow([recording, label, *(f"{share:.6f}" for share in posteriors)])
        output.flush()
    if failed:
        raise JobError(
            f"{failed} of {len(recordings)} recordings could not be labelled, the others were; "
            "repair them or leave them out"
        )
