"""How fast training is, and what it costs: ``python -m benchmarks.train [--input DIR] …``.

One run, one machine, ratios:

* input alone: tiles/s of the TFRecord pipeline against generators that decode audio and compute
  log-mel in Python for every triplet, on the same files and for tiles of the same size;
* tiles that go through the encoder per triplet;
* the step on batches from TFRecord shards against the same step on one cached batch;
* the same step on two logical replicas, in bfloat16, with XLA, and with opposites embedded as well,
  against one replica in float32;
* memory of the input pipeline by the number of shards.

Two things that are compared take turns, and what counts is the median over the rounds. `--input` is
a directory of WAV files of 16 kHz that hold two tiles at least; without it, songs are synthesised.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile
import tensorflow as tf
from trainer.data.pairs import PairSource

from beam_features.datasets import sample
from beam_features.schema.feature_spec import FeatureSpec
from benchmarks.reference import librosa_log_mel
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.model.learner import build_learner
from trainer.runtime.memory import peak_memory_mib
from trainer.train.devices import make_strategy
from trainer.train.input import distribute
from trainer.train.resolve import resolve_config
from trainer.train.step import make_train_steps

_CHANNELS = 4
_SONGS_S = 30
_SETTLE_STEPS = 3  # after the other had its turn, until what was prepared meanwhile is used up
_PIPELINE_S = 8.0
_BATCHES_TO_FILL_MEMORY = 100
_SHARD_FACTORS = (1, 8, 64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--input", type=Path, help="directory of WAV files (default: synthetic)")
    parser.add_argument("--encoder", default="conv2d")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    known = parser.parse_args(arguments)
    config = TrainConfig(encoder=known.encoder, batch_size=known.batch_size)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    make_strategy(2, known.batch_size)  # before TensorFlow starts: afterwards a CPU stays whole
    print(f"TensorFlow {tf.__version__}, {cores} cores, {known.encoder}, batch {known.batch_size}")
    with tempfile.TemporaryDirectory() as home:
        source = known.input or write_songs(Path(home) / "songs")
        for tile_s in (5.0, 1.0):
            features = make_features(source, Path(home), tile_s)
            compare_inputs(source, features, config)
        compare_memory(features, Path(home), config)
        count_passes(features, config)
        compare_steps(features, config, known.rounds, known.steps)


def write_songs(folder: Path) -> Path:
    """Write the embedded corpus as WAV of 4 channels, each of which hears some noise of its own."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for recording in sample.list_recordings("sample:0").recordings:
        song = sample.synthesise(recording.uri)[: _SONGS_S * sample.SAMPLE_RATE_HZ]
        samples = song[:, None] + rng.normal(0, 0.003, (len(song), _CHANNELS))
        name = recording.uri.removeprefix("sample:").replace("/", "-")
        soundfile.write(folder / f"{name}.wav", samples, sample.SAMPLE_RATE_HZ)
    return folder


def make_features(source: Path, home: Path, tile_s: float) -> Features:
    """Run the feature job."""
    output = home / f"features-{tile_s}"
    words = ["--dataset", "folder", "--input", str(source), "--output", str(output)]
    command = [sys.executable, "-m", "beam_features", *words, "--direct_num_workers=0"]
    command += ["--set", f"tile_s={tile_s}"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
    return open_features(str(output))


def partitions_of(features: Features) -> list[str]:
    """All that hold tiles."""
    return [name for name, partition in features.info.partitions.items() if partition.tiles]


def batches_of(features: Features, config: TrainConfig) -> tf.data.Dataset:
    """Batches as a training run takes them, of all partitions."""
    neighbourhood_s = max(config.neighbourhood_s, 2 * features.info.feature_spec.tile_s)
    source = PairSource(features, partitions_of(features), neighbourhood_s, config.batch_size)
    return source.batches(seed=0, epoch=0)


def compare_inputs(source: Path, features: Features, config: TrainConfig) -> None:
    """Print the tiles per second of the pipeline, and of generators that read the audio."""
    spec = features.info.feature_spec
    ours = rate(batches_of(features, config).prefetch(tf.data.AUTOTUNE), 2 * config.batch_size)
    theirs = rate(generated_triplets(source, spec, config.batch_size), 3 * config.batch_size)
    print(
        f"\ninput alone, tiles of {spec.tile_s} s: {ours:.0f} tiles/s from TFRecords, {theirs:.0f} "
        f"from generators that decode: {ours / theirs:.0f} times as many"
    )


def rate(batches: tf.data.Dataset, tiles_per_batch: int) -> float:
    """Tiles per second once the first two batches are there."""
    iterator = iter(batches)
    for _ in range(2):
        next(iterator)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < _PIPELINE_S:
        next(iterator)
        count += tiles_per_batch
    return count / (time.perf_counter() - begin)


def generated_triplets(source: Path, spec: FeatureSpec, batch_size: int) -> tf.data.Dataset:
    """Triplets, each decoded and transformed when it is asked for, as the original study has them.

    Its code computes three tiles per triplet in a Python generator behind `from_generator`.
    """
    files = sorted(str(file) for file in source.rglob("*.wav"))
    n_samples = round(spec.tile_s * spec.sample_rate_hz)
    shape = tf.TensorSpec(spec.tile_shape, tf.float32)

    def tile(file: str, start: int) -> np.ndarray:
        samples, _ = soundfile.read(file, n_samples, start, dtype="float32", always_2d=True)
        return librosa_log_mel(samples.mean(axis=1), spec)[: spec.tile_frames]

    def triplets() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(0)
        while True:
            file, other = rng.choice(files, 2, replace=False)
            room, elsewhere = (soundfile.info(f).frames - n_samples for f in (file, other))
            anchor, neighbour = rng.integers(0, room + 1, 2)
            opposite = rng.integers(0, elsewhere + 1)
            yield tile(file, anchor), tile(file, neighbour), tile(other, opposite)

    generated = tf.data.Dataset.from_generator(triplets, output_signature=(shape,) * 3)
    return generated.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def compare_memory(features: Features, home: Path, config: TrainConfig) -> None:
    """Print the peak memory of reading as many batches from more and more shards."""
    print("\ninput alone, peak memory of a process that reads as many batches of")
    for factor in _SHARD_FACTORS:
        copy = multiply(features, home / f"x{factor}", factor)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            peak = fresh.submit(read_batches, str(copy), config.batch_size).result()
        shards = sum(partition.n_shards for partition in features.info.partitions.values())
        print(f"  {shards * factor:>5} shards: {peak:.0f} MiB")


def multiply(features: Features, target: Path, factor: int) -> Path:
    """Copy features, each shard `factor` times under other numbers, by links."""
    target.mkdir()
    info = json.loads((Path(features.uri) / "dataset_info.json").read_text())
    for name, partition in features.info.partitions.items():
        n_shards = partition.n_shards * factor
        pattern = f"{name}-*-of-{n_shards:05d}.tfrecord"
        info["partitions"][name] |= {"shards": pattern, "n_shards": n_shards}
        for index, shard in enumerate(
            itertools.islice(itertools.cycle(partition.shard_names()), n_shards)
        ):
            os.link(Path(features.uri) / shard, target / pattern.replace("*", f"{index:05d}"))
    (target / "dataset_info.json").write_text(json.dumps(info))
    return target


def read_batches(features_uri: str, batch_size: int) -> float:
    """Read batches and return this process's peak memory in MiB."""
    batches = batches_of(open_features(features_uri), TrainConfig(batch_size=batch_size))
    for _ in batches.take(_BATCHES_TO_FILL_MEMORY):
        pass
    return peak_memory_mib()


class Steps:
    """A model with its training step, and batches for it."""

    def __init__(
        self, features: Features, config: TrainConfig, wrap: Callable[[Any], Any] = lambda x: x
    ) -> None:
        strategy = make_strategy(config.replicas or 1, config.batch_size)
        info, names = features.info, tuple(partitions_of(features))
        own = replace(config, train_partitions=names, validation_partitions=(), test_partitions=())
        resolved = resolve_config(own, features)
        with strategy.scope():
            moments = info.moments(names)
            learner = build_learner(resolved, info.feature_spec.tile_shape, moments)
        learner = replace(learner, encoder=wrap(learner.encoder))
        self._train = make_train_steps(
            strategy,
            learner,
            clip_norm=config.clip_norm,
            augment=config.augment,
            seed=0,
            jit_compile=config.jit_compile,
        )
        batches = batches_of(features, config)
        one = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
        self.read = distribute(strategy, batches, config.batch_size)
        self.cached = distribute(strategy, one, config.batch_size)

    def seconds_per_step(self, batches: Iterator[Any], n_steps: int) -> float:
        """Make steps, and time all but the first few."""
        self.make(batches, _SETTLE_STEPS)
        begin = time.perf_counter()
        self.make(batches, n_steps)
        return (time.perf_counter() - begin) / n_steps

    def make(self, batches: Iterator[Any], n_steps: int) -> None:
        """Make steps and wait for them."""
        scalars, _ = self._train(batches, tf.constant(0, tf.int64), tf.constant(n_steps, tf.int64))
        float(scalars["loss"])


class Counted:
    """An encoder that counts the tiles it is given."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.trainable_variables = encoder, encoder.trainable_variables
        self.output_shape = encoder.output_shape
        self.tiles = tf.Variable(0, dtype=tf.int64)

    def __call__(self, tiles: tf.Tensor, *, training: bool) -> tf.Tensor:
        self.tiles.assign_add(tf.shape(tiles, tf.int64)[0])
        return self._encoder(tiles, training=training)


def count_passes(features: Features, config: TrainConfig) -> None:
    """Print how many tiles are embedded per anchor; with random mining that is per triplet."""
    made: list[Counted] = []

    def count(encoder: Any) -> Counted:
        made.append(Counted(encoder))
        return made[0]

    n_steps = 4
    steps = Steps(features, config, count)
    steps.make(steps.cached, n_steps)
    per_anchor = int(made[0].tiles) / (n_steps * config.batch_size)
    print(f"\ntiles embedded per anchor: {per_anchor:.2f} (anchor, neighbour and opposite: 3)")


def compare_steps(features: Features, config: TrainConfig, rounds: int, n_steps: int) -> None:
    """Print the seconds of a step, as multiples of one on a cached batch."""
    base = Steps(features, config)
    three = 3 * config.batch_size // 2  # so many pairs have the tiles of a batch of triplets
    others = {
        "batches from TFRecords": lambda: (base, base.read),
        "2 logical replicas": lambda: with_cached(replace(config, replicas=2)),
        "mixed_bfloat16": lambda: with_cached(replace(config, precision="mixed_bfloat16")),
        "XLA": lambda: with_cached(replace(config, jit_compile=True)),
        "opposites embedded, too": lambda: with_cached(replace(config, batch_size=three)),
    }

    def with_cached(changed: TrainConfig) -> tuple[Steps, Iterator[Any]]:
        steps = Steps(features, changed)
        return steps, steps.cached

    print(
        f"\na step, median of {rounds} rounds of {n_steps} in turns with the same, one cached batch"
    )
    for name, make in others.items():
        steps, batches = make()
        turns = [
            (base.seconds_per_step(base.cached, n_steps), steps.seconds_per_step(batches, n_steps))
            for _ in range(rounds)
        ]
        ratio = statistics.median(changed / cached for cached, changed in turns)
        cached_s, changed_s = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"  {name:<26}{changed_s:.3f} s against {cached_s:.3f} s: {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
