"""From the name of a dataset to its listing: calls the adapter and checks what it returned."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from beam_features.datasets import DATASETS
from beam_features.datasets.names import alike, fault_of_partition
from beam_features.datasets.sample import is_sample
from beam_features.recording import Listing, Recording
from dem.access import is_remote
from dem.errors import InputError


def survey(dataset: str, source: str, label_depth: int | None = None) -> Listing:
    """List the recordings of a dataset.

    Args:
        dataset: its name, or ``module:function``.
        source: what ``--input`` says.
        label_depth: of `folder`.

    Raises:
        InputError: the adapter refuses the input, a partition has an invalid name, or no file
            exists.
    """
    if label_depth is not None and dataset != "folder":
        raise InputError(
            f"label_depth={label_depth} is a setting of --dataset folder, not of {dataset!r}; "
            "remove it"
        )
    options = {} if label_depth is None else {"label_depth": label_depth}
    listing: Listing = DATASETS[dataset](source, **options)
    partitions = {recording.partition for recording in listing.recordings}
    _check_partitions(partitions)
    _check_present(listing.recordings, source)
    labels = {recording.label for recording in listing.recordings if recording.label is not None}
    remarks = (*listing.remarks, *alike("labels", labels), *alike("partitions", partitions))
    return replace(listing, remarks=remarks)


def _check_partitions(names: Iterable[str]) -> None:
    for name in sorted(names):
        if fault := fault_of_partition(name):
            raise InputError(f"partition {name!r} {fault}")


def _check_present(recordings: Sequence[Recording], source: str) -> None:
    """Refuse a listing of which no local file exists: `source` is not where they are."""
    uris = [recording.uri for recording in recordings]
    if uris and not any(is_remote(uri) or is_sample(uri) or os.path.exists(uri) for uri in uris):
        raise InputError(
            f"none of the {len(uris)} audio files that {source!r} lists exists, such as "
            f"{uris[0]!r}; check --input"
        )
