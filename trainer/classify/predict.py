"""The labelling command: a classifier run and audio files in, a row of CSV per recording out."""

import csv
import logging
from collections.abc import Sequence
from typing import TextIO

from dem.errors import JobError
from trainer.classify.labeller import Labeller
from trainer.data.audio_files import UnreadableRecording, find_recordings, read_channels

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
    recordings = find_recordings(inputs, "FILE")
    names = labeller.label_names
    table = csv.writer(output, lineterminator="\n")
    table.writerow(["recording", "label", *(f"p_{name}" for name in names)])
    failed = 0
    for recording, uri in recordings.items():
        try:
            channels = read_channels(uri, labeller.spec)
        except UnreadableRecording as why:
            _LOG.warning(f"failed: {uri}: {why}")
            failed += 1
            continue
        posteriors = labeller.posteriors(channels)
        label = names[posteriors.argmax()]
        table.writerow([recording, label, *(f"{share:.6f}" for share in posteriors)])
        output.flush()
    if failed:
        raise JobError(
            f"{failed} of {len(recordings)} recordings could not be labelled, the others were; "
            "repair them or leave them out"
        )
