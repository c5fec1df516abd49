"""Training steps apart from a run: a model, its step, and inputs for it."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.features import Features
from trainer.model.learner import Learner, build_learner
from trainer.train.corpus import Corpus, open_corpus
from trainer.train.devices import make_strategy
from trainer.train.input import Input, host_cut, open_input
from trainer.train.resolve import resolve_config
from trainer.train.step import make_train_steps

ENDLESS = 2**40  # steps


def resolved(features: Features, config: TrainConfig) -> ResolvedConfig:
    """Settings of a run on all partitions that hold tiles."""
    names = tuple(name for name, of in features.info.partitions.items() if of.tiles)
    own = {"train_partitions": names, "validation_partitions": (), "test_partitions": ()}
    return resolve_config(dataclasses.replace(config, **own), features)


def read_corpus(features: Features, config: TrainConfig) -> Corpus:
    """Frames and pairs, in memory."""
    return open_corpus(features, resolved(features, config))


class Resident:
    """Endlessly one batch, on the device of the steps; it costs nothing to take."""

    def __init__(self, batch: dict[str, tf.Tensor]) -> None:
        self._batch = batch

    def __next__(self) -> dict[str, tf.Tensor]:
        return self._batch


@dataclass(frozen=True)
class Turn:
    """What steps in a row took, per step."""

    seconds: float
    processor_s: float
    wait_share: float


class Steps:
    """A model with its training step, and inputs for it."""

    def __init__(
        self,
        features: Features,
        config: TrainConfig,
        corpus: Corpus,
        strategy: tf.distribute.Strategy | None = None,
        change: Callable[[Learner], Learner] = lambda learner: learner,
    ) -> None:
        """`change` makes another learner of the built one, in the scope of the strategy."""
        self._config, self._store = config, corpus.store
        self._pairs = dataclasses.replace(corpus.pairs, batch_size=config.batch_size)
        self.strategy = strategy or make_strategy(config.replicas or 1, self._pairs.batch_size)
        settings = resolved(features, config)
        shape, moments = features.info.feature_spec.tile_shape, features.info.moments
        with self.strategy.scope():
            built = build_learner(settings, shape, moments(settings.train_partitions))
            self.learner = change(built)
        self._train = make_train_steps(
            self.strategy,
            self.learner,
            clip_norm=config.clip_norm,
            augment=config.augment,
            seed=0,
            jit_compile=config.jit_compile,
        )

    def input(self, first: int = 0) -> Input:
        """Batches as a run takes them from step `first` on."""
        return open_input(self.strategy, self._store, self._pairs, (first, ENDLESS))

    def cut_on_host(self) -> Input:
        """Batches whose tiles the host cuts, for one replica."""
        batches = self._pairs.batches((0, ENDLESS), (1, 0, 1), host_cut(self._store))
        return Input(iter(self.strategy.distribute_datasets_from_function(lambda _: batches)), None)

    def resident(self) -> Input:
        """One batch with its tiles, for one replica."""
        batch = next(self.cut_on_host().batches)
        return Input(Resident({name: tf.identity(values) for name, values in batch.items()}), None)

    def make(self, source: Input, n_steps: int, first: int = 0) -> float:
        """Make steps in one host call; return the seconds in which they waited for input."""
        numbers = (tf.constant(number, tf.int64) for number in (first, n_steps))
        scalars, waited_s = self._train(source.batches, source.frames, *numbers)
        float(scalars["loss"])
        return float(waited_s)

    def turn(self, source: Input, n_steps: int, settle: int = 2) -> Turn:
        """Make steps, and measure all but the first few."""
        self.make(source, settle)
        begin, processor_s = time.perf_counter(), time.process_time()
        waited_s = self.make(source, n_steps)
        seconds, processor_s = time.perf_counter() - begin, time.process_time() - processor_s
        return Turn(seconds / n_steps, processor_s / n_steps, waited_s / seconds)


def peak_gpu_mib() -> float | None:
    """Peak memory on the first GPU since the last call, in MiB; None without one."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    peak: Any = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return float(peak) / 2**20
