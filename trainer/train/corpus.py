"""What a run trains on: the frames of its training partitions, and the pairs drawn from them."""

from dataclasses import dataclass

from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.pairs.draw import PairDraw
from trainer.pairs.source import PairSource, pair_rules, require_pairs
from trainer.runtime.cache_dir import cache_dir
from trainer.store.frames import FrameStore, open_store


@dataclass(frozen=True)
class Corpus:
    """What a run trains on.

    Attributes:
        store: the frames of the training partitions.
        pairs: which pairs make a step.
        corrupt: the corrupt records of these partitions, and of others that the run reads.
    """

    store: FrameStore
    pairs: PairSource
    corrupt: CorruptRecords


def open_corpus(
    features: Features,
    config: ResolvedConfig,
    tolerated_by: str | None = None,
) -> Corpus:
    """Read the frames of the training partitions, to where `trainer.runtime.cache_dir` says.

    Args:
        features: where the shards are.
        config: settings of the run.
        tolerated_by: what sets the budget of corrupt records; see `CorruptRecords`.

    Raises:
        InputError: there are no pairs, or see `trainer.store.frames.open_store`.
        JobError: see there.
    """
    names = config.train_partitions
    corrupt = CorruptRecords(config.corrupt_records_budget, tolerated_by)
    store = open_store(features, names, corrupt, cache_dir())
    rules = pair_rules(features.info.feature_spec, config.neighbourhood_s, config.positives)
    draw = PairDraw(store.index, rules)
    require_pairs(store.index, draw, config.positives, names, features.uri)
    return Corpus(store, PairSource(draw, config.batch_size, config.seed), corrupt)
