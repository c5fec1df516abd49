"""Approximate search by usearch: a graph of near songs (HNSW, Malkov and Yashunin, TPAMI 2018).

Songs have keys that follow from their ids, so a graph outlives the rows of one build: songs that
are gone are removed, and new ones are added.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dem.errors import InputError

_EXPANSION_ADD, _EXPANSION_SEARCH = 256, 256  # recall@10 above 0.98 at 1e5 songs: benchmarks
_CONNECTIVITY = 32

Floats = npt.NDArray[np.floating]
Keys = npt.NDArray[np.uint64]


def keys_of(recordings: Sequence[str]) -> Keys:
    """A key per recording, 64 bits of the sha256 of its id."""
    digests = (hashlib.sha256(name.encode(errors="surrogateescape")) for name in recordings)
    return np.array([int.from_bytes(d.digest()[:8], "little") for d in digests], np.uint64)


def update_graph(
    path: str, unit: Floats, keys: Keys, stale: Keys, fresh: npt.NDArray[np.bool_], old: str | None
) -> None:
    """Write the graph of a build to a local file.

    Args:
        path: of the file.
        unit: ``[songs, size]``, rows of length one.
        keys: ``[songs]``.
        stale: keys to remove from the old graph: songs that are gone or have changed.
        fresh: ``[songs]``, which songs the old graph does not have as they are.
        old: file of the graph of the last build; None: there is none, and all songs are added.
    """
    graph = _new_graph(unit.shape[1])
    if old is None:
        graph.add(keys, unit)
    else:
        graph.load(old)
        if len(stale):
            graph.remove(stale)
        if fresh.any():
            graph.add(keys[fresh], unit[fresh])
    graph.save(path)


def near_rows(path: str, query: Floats, count: int, keys: Keys) -> npt.NDArray[np.int64]:
    """Find about `count` rows near to a query ``[size]``; all keys are of the build."""
    graph = _new_graph(len(query))
    graph.view(path)
    found = graph.search(query.astype(np.float32), min(count, len(keys))).keys
    order = np.argsort(keys)
    places = np.searchsorted(keys, found, sorter=order)
    return np.asarray(order[np.minimum(places, len(keys) - 1)], np.int64)


def _new_graph(size: int) -> "usearch.index.Index":  # type: ignore[name-defined] # noqa: F821
    try:
        from usearch.index import Index
    except ImportError as error:
        raise InputError(
            "--approximate needs usearch; install the extra 'library' or leave it out"
        ) from error
    return Index(
        ndim=size,
        metric="ip",
        dtype="f16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
