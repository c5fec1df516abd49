"""The library at size: indexing, search, order and the command from the shell, in one run.

    python -m benchmarks.similarity [--songs 100000] [--most 1000000]

Songs are made up: 500 clusters with noise, 64 numbers per tile, so 128 per song; four tiles each.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_features.schema.sources import Source, write_sources
from similarity.evaluate.orders import oracle_order
from similarity.index.graph import keys_of, near_rows, update_graph
from similarity.measure.nearest import best_first, cosines_with
from similarity.order.tour import Ends, greedy_order, leaf_order, length, shortest_order
from trainer.metrics.neighbours import unit_rows

_SIZE, _TILES, _CLUSTERS = 64, 4, 500
_QUERIES = 100

Floats = npt.NDArray[np.floating]


def main() -> None:
    """Run all parts and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--most", type=int, default=1_000_000, help="of search, exact and by graph")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index_and_commands(Path(folder), parsed.songs)
        for n in sorted({parsed.songs, parsed.most}):
            search(Path(folder), n, with_graph=n <= 100_000)
    order(1000)


def songs(n: int, seed: int, size: int = 2 * _SIZE) -> Floats:
    """Vectors of length one in clusters: float32 ``[n, size]``."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(_CLUSTERS, size)).astype(np.float32)
    noise = random.standard_normal((n, size), np.float32)
    return unit_rows(centres[random.integers(0, _CLUSTERS, n)] + np.float32(0.8) * noise)


def index_and_commands(folder: Path, n: int) -> None:
    """Build an index, add 1 % to it, and start the commands from the shell."""
    extra = n // 100
    vectors = songs((n + extra) * _TILES, 0, _SIZE)
    write_vectors(folder / "part", vectors, n)
    write_vectors(folder / "all", vectors, n + extra)
    index = str(folder / "INDEX")
    first = timed(lambda: dem("index", str(folder / "part"), "--output", index))
    added = timed(lambda: dem("index", str(folder / "all"), "--output", index))
    rebuilt = timed(lambda: dem("index", str(folder / "all"), "--output", str(folder / "fresh")))
    print(f"index {n} songs: {first:.1f} s, {n / first:.0f} songs/s (tags of missing files)")
    print(f"add {extra}: {added:.1f} s, {added / rebuilt:.2f} of a rebuild ({rebuilt:.1f} s)")
    for words in (["similar", "s17"], ["compare", "s17", "s18"], ["path", "s17", "s18"]):
        took = min(timed(lambda w=words: dem(*w, "--index", index)) for _ in range(3))
        print(f"dem {' '.join(words)} at {n} songs: {took:.2f} s")


def write_vectors(folder: Path, vectors: Floats, n: int) -> None:
    """Write the first `n` songs as ``dem embed`` does."""
    folder.mkdir()
    names = [f"s{number}" for number in range(n)]
    rows = n * _TILES
    table = pa.table(
        {
            "recording": pa.array(names).take(pa.array(np.repeat(np.arange(n), _TILES))),
            "session": pa.array(names).take(pa.array(np.repeat(np.arange(n), _TILES))),
            "start_s": np.tile(np.arange(_TILES, dtype=np.float64), n),
            "partition": pa.nulls(rows, pa.string()),
            "label": pa.nulls(rows, pa.string()),
            "audible": np.ones(rows, np.bool_),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors[:rows].ravel()), _SIZE),
        }
    )
    pq.write_table(table, folder / "recordings.parquet", row_group_size=4096)
    sources = [Source(name, f"/music/{name}.ogg", 1, 1.0, "1", 200.0, 1.0) for name in names]
    write_sources(str(folder / "_sources.parquet"), sources)
    arguments = {"model_sha256": "0" * 64, "fingerprint": "0" * 64, "embedding_size": _SIZE}
    info = {"arguments": arguments, "files": {"recordings.parquet": rows}, "failed": {}}
    (folder / "_embeddings_info.json").write_text(json.dumps(info))


def search(folder: Path, n: int, *, with_graph: bool) -> None:
    """Queries per second, 99th percentile and resident memory of exact search; then the graph."""
    path = folder / f"unit-{n}.npy"
    np.save(path, songs(n, 1))
    unit = np.load(path, mmap_mode="r")
    queries = np.random.default_rng(2).integers(0, n, _QUERIES)
    exact = {}

    def ask(row: int) -> None:
        exact[row] = best_first(cosines_with(unit, unit[row]))[:10]

    report(f"exact, {n} songs", [timed(lambda r=row: ask(r)) for row in queries.tolist()])
    if not with_graph:
        return
    keys = keys_of([f"s{number}" for number in range(n)])
    old, new = str(folder / "old"), str(folder / "new")
    everything = np.ones(n, np.bool_)
    built = timed(lambda: update_graph(old, unit, keys, keys[:0], everything, None))
    replaced = np.arange(n) < n // 5
    stale = keys[replaced]
    unit = np.array(unit)
    unit[replaced] = songs(n // 5, 3)
    keys = keys.copy()
    keys[replaced] = keys_of([f"new {number}" for number in range(n // 5)])
    updated = timed(lambda: update_graph(new, unit, keys, stale, replaced, old))
    hits, times, fewest = 0, [], 10
    for row in queries.tolist():
        truth = set(best_first(cosines_with(unit, unit[row]))[:10].tolist())
        begin = time.perf_counter()
        found = near_rows(new, unit[row], 200, keys)
        found = found[best_first(cosines_with(unit[found], unit[row]))[:10]]
        times.append(time.perf_counter() - begin)
        hits += len(truth & set(found.tolist()))
        fewest = min(fewest, len(set(found.tolist())))
    report(f"graph, {n} songs, the file opened for each query", times)
    print(
        f"graph: built in {built:.0f} s, a fifth replaced in {updated:.0f} s; then recall@10 "
        f"{hits / 10 / _QUERIES:.3f}, at least {fewest} results"
    )


def report(name: str, times: list[float]) -> None:
    """Print rates of queries."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    slowest_ms = 1000 * np.percentile(times, 99)
    print(
        f"{name}: {1 / np.median(times):.1f} queries/s, p99 {slowest_ms:.0f} ms, "
        f"peak memory {memory:.0f} MiB"
    )


def order(n: int) -> None:
    """Compare orders of `n` songs with the oracle."""
    unit = songs(n, 5)
    distances = np.maximum(1 - unit @ unit.T, 0).astype(np.float64)
    greedy = length(greedy_order(distances, Ends()), distances)
    begin = time.perf_counter()
    ours = length(shortest_order(distances), distances)
    took = time.perf_counter() - begin
    best = length(oracle_order(distances, 5), distances)
    leaves = length(leaf_order(distances), distances)
    print(
        f"order of {n} songs: {ours / greedy:.3f} of greedy, {ours / best:.3f} of fast-tsp, "
        f"{ours / leaves:.3f} of the leaves' order, in {took:.1f} s"
    )


def dem(*words: str) -> None:
    """Run a command from the shell."""
    command = [sys.executable, "-m", "dem", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
