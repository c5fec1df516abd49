"""How well tiles find their recording: ``python -m benchmarks.likeness --data … --job-dir …``.

The encoder of a recipe is trained without labels, once on all partitions, and once for each
partition on the others, which then measures it on recordings that it has not heard. The share of
audible tiles is counted whose nearest other tile at least 10 s or 30 s away, or of another
recording, is of the same context (`trainer.metrics.candidates.apart_in_time`). Beside it are the
untrained encoder and the statistics, by the vectors as they are and z-scored.

What is trained is not trained again.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.preprocessing import scale

from dem import storage
from dem.settings import load_settings
from similarity.evaluate.retrieval import estimate
from trainer.choices import EMBEDDING_KINDS
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable
from trainer.embed.stored import encoders_of, stored_vectors
from trainer.metrics.candidates import apart_in_time, starts_in_context
from trainer.metrics.retrieval import Scores, hits_at_1
from trainer.train.run import train

GAPS_S = (10.0, 30.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="features directory")
    parser.add_argument("--job-dir", required=True)
    parser.add_argument("--config", default="configs/music.yaml")
    parser.add_argument("--set", nargs="+", default=[])
    known = parser.parse_args(arguments)
    features = open_features(known.data)
    config = load_settings(TrainConfig, known.config, known.set, storage.read_text)
    columns = [f"{gap:.0f} s{of}" for gap in GAPS_S for of in ("", ", z-scored")]
    print("| trained on | vectors |", " | ".join(columns), "| trained ahead by |")
    print("|---|---", *["|---"] * len(columns), "|---|", sep="")
    for name, runs in protocols(list(features.info.partitions)).items():
        hits = [
            measure(features, storage.join(known.job_dir, job), config, trained, measured)
            for job, trained, measured in runs
        ]
        for kind in EMBEDDING_KINDS:
            print(row(name, kind, [one[kind] for one in hits], [one["trained"] for one in hits]))


def protocols(partitions: Sequence[str]) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """Jobs, what they are trained on and measured on, by the name of the protocol."""
    names = list(partitions)
    others = [(f"without-{one}", [n for n in names if n != one], [one]) for one in names]
    return {"the same": [("all", names, names)], "other recordings": others if others[1:] else []}


def measure(
    features: Features,
    job_dir: str,
    config: TrainConfig,
    trained: Sequence[str],
    measured: Sequence[str],
) -> dict[str, list[Scores]]:
    """Scores of each kind of vector, by gap, as they are and z-scored."""
    own = dataclasses.replace(
        config,
        train_partitions=tuple(trained),
        validation_partitions=(),
        test_partitions=(),
    )
    train(features.uri, job_dir, own, terminated=lambda: False)
    found = {}
    for encoder in encoders_of(job_dir, features):
        table = stored_vectors(encoder, features, measured, job_dir, CorruptRecords(0))
        found[encoder.kind] = list(hits_of(table.select(table.audible)))
    return found


def hits_of(tiles: VectorTable) -> Iterator[Scores]:
    """Which tiles find their context, for each column of the table."""
    starts_ms = starts_in_context(tiles.context_ids, tiles.recording_ids, tiles.start_ms)
    for gap_s in GAPS_S:
        candidates = apart_in_time(tiles.context_ids, starts_ms, gap_s)
        for vectors in (tiles.vectors, scale(tiles.vectors)):
            yield hits_at_1(vectors, tiles.context_ids, candidates)


def row(name: str, kind: str, of_runs: Sequence[list[Scores]], ours: Sequence[list[Scores]]) -> str:
    """Means over the queries of all runs, and the difference of ours at the first gap, paired."""
    values, own = (
        [np.concatenate(column) for column in zip(*runs, strict=True)] for runs in (of_runs, ours)
    )
    cells = [f"{np.nanmean(column):.3f}" for column in values]
    gain = 100 * (own[0] - values[0])
    ahead = estimate(gain[~np.isnan(gain)])
    last = f"{ahead.mean:+.1f} ({ahead.low:+.1f} to {ahead.high:+.1f})"
    return f"| {name} | `{kind}` | {' | '.join(cells)} | {'–' if kind == 'trained' else last} |"


if __name__ == "__main__":
    main()
