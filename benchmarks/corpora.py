"""Synthetic features of any number of recordings, as the feature job writes them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from beam_features.schema.dataset_info import (
    DATASET_INFO,
    DatasetInfo,
    Moments,
    Partition,
    dump_dataset_info,
)
from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP, FeatureSpec
from beam_features.schema.strip import NO_LABEL, SCHEMA_VERSION, Strip, encode_strip

SHARDS = 8
SMALL = FeatureSpec(n_mels=8, tile_s=0.16)  # tiles of 256 bytes, where only their number matters


def write_corpus(
    directory: Path, recordings: int, tiles: int, spec: FeatureSpec | None = None
) -> str:
    """Write recordings of as many tiles each as partition ``train``; return the directory."""
    spec = spec or FeatureSpec()
    directory.mkdir(parents=True)
    rng, moments, n_strips = np.random.default_rng(0), [], 0
    for shard in range(SHARDS):
        path = directory / f"train-{shard:05d}-of-{SHARDS:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as file:
            for number in range(shard, recordings, SHARDS):
                for strip in _strips(f"song{number}", tiles, spec, rng):
                    file.write(encode_strip(strip))
                    moments.append(Moments.of(strip.log_mel[:1]))
                    n_strips += 1
    partition = Partition(
        shards=f"train-*-of-{SHARDS:05d}.tfrecord",
        n_shards=SHARDS,
        strips=n_strips,
        tiles=recordings * tiles,
        recordings=recordings,
        seconds=recordings * tiles * spec.tile_s,
        moments=Moments.total(moments, spec.n_mels),
    )
    info = DatasetInfo(SCHEMA_VERSION, spec, spec.fingerprint, (), {"train": partition}, {}, {}, {})
    (directory / DATASET_INFO).write_text(dump_dataset_info(info))
    return str(directory)


def _strips(
    name: str, n_tiles: int, spec: FeatureSpec, rng: np.random.Generator
) -> Iterator[Strip]:
    spectrum = rng.normal(-6, 1.5, spec.n_mels).astype(np.float32)
    for first in range(0, n_tiles, MAX_TILES_PER_STRIP):
        numbers = range(first, min(first + MAX_TILES_PER_STRIP, n_tiles))
        noise = rng.standard_normal((len(numbers), *spec.tile_shape), np.float32)
        yield Strip(
            context_id=name,
            session_id=name,
            sensor_id="",
            first_tile=first,
            log_mel=(spectrum + noise).astype(np.float16),
            recording_ids=(name,) * len(numbers),
            start_ms=tuple(round(number * spec.tile_s * 1000) for number in numbers),
            labels=(NO_LABEL,) * len(numbers),
        )
