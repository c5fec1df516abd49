"""The recordings that an encoder was trained on; a test on them would be optimistic."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dem import storage
from dem.errors import InputError
from trainer.runtime.job_dir import TRAINING_RECORDINGS

_COLUMN = "recording"
_REMEDY = "add --transductive to test anyway; the result is marked"


def write_training_recordings(job_dir: str, recordings: Sequence[str]) -> None:
    """Write the ids, sorted and unique, as a table of one column."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({_COLUMN: pa.array(recordings, pa.string())}), buffer)
    uri = storage.join(job_dir, TRAINING_RECORDINGS)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


def read_training_recordings(uri: str) -> set[str] | None:
    """Read such a table; None where there is none."""
    if not storage.exists(uri):
        return None
    table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)))
    return set(table[_COLUMN].to_pylist())


def require_not_trained_on(job_dir: str, test_recordings: Iterable[str]) -> None:
    """Raise an InputError if the encoder of a job was trained on one of the recordings."""
    uri = storage.join(job_dir, TRAINING_RECORDINGS)
    trained_on = read_training_recordings(uri)
    if trained_on is None:
        raise InputError(
            f"{uri} does not exist, so the recordings that the encoder was trained on are unknown; "
            f"train again with this version, or {_REMEDY}"
        )
    wanted = set(map(str, test_recordings))
    seen = sorted(wanted & trained_on)
    if seen:
        raise InputError(
            f"the encoder of {job_dir} was trained on {len(seen)} of {len(wanted)} test "
            f"recordings, such as {seen[0]!r}; choose other test_partitions, or {_REMEDY}"
        )
