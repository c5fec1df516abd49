"""A features directory without audio: tiles around a spectrum per label, plus one per song."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from beam_features.job.tfrecord import frame_record
from beam_features.schema.dataset_info import (
    DATASET_INFO,
    DatasetInfo,
    Moments,
    Partition,
    dump_dataset_info,
)
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import NO_LABEL, SCHEMA_VERSION, Strip, encode_strip
from trainer.data.shards import CorruptRecords, read_strips

SPEC = FeatureSpec(n_mels=16, tile_s=0.16)  # tiles of 16 x 16
LABELS = ("bell", "drum", "flute")
SHARDS = 2


def write_features(
    directory: Path,
    songs: Mapping[str, int],
    *,
    tiles_per_song: int = 6,
    labelled: bool = True,
    spec: FeatureSpec = SPEC,
    tilt: float = 0.0,
    sensors: int = 1,
) -> Path:
    """Write shards of `songs` recordings per partition, as the feature job would.

    With `tilt` the spectrum of each tile slopes by a random amount: a nuisance that must be learned
    to be ignored. Each of several sensors hears the recordings with noise of its own.
    """
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    spectra = rng.normal(0, 1.5, (len(LABELS), spec.n_mels))
    partitions = {}
    for name, count in songs.items():
        recordings = [
            _song(f"{name}/{index}", index, spectra, tiles_per_song, labelled, spec, tilt, rng)
            for index in range(count)
        ]
        strips = [
            strip if sensors == 1 else _heard_by(sensor, strip, rng)
            for strip in recordings
            for sensor in range(sensors)
        ]
        for shard in range(SHARDS):
            records = [frame_record(encode_strip(strip)) for strip in strips[shard::SHARDS]]
            path = directory / f"{name}-{shard:05d}-of-{SHARDS:05d}.tfrecord"
            path.write_bytes(b"".join(records))
        partitions[name] = Partition(
            shards=f"{name}-*-of-{SHARDS:05d}.tfrecord",
            n_shards=SHARDS,
            strips=len(strips),
            tiles=len(strips) * tiles_per_song,
            recordings=count,
            seconds=count * tiles_per_song * spec.tile_s,
            moments=Moments.total((Moments.of(strip.log_mel) for strip in strips), spec.n_mels),
        )
    info = DatasetInfo(
        schema_version=SCHEMA_VERSION,
        feature_spec=spec,
        fingerprint=spec.fingerprint,
        label_names=LABELS if labelled else (),
        partitions=partitions,
        rejected={},
        source={},
        versions={},
    )
    (directory / DATASET_INFO).write_text(dump_dataset_info(info))
    return directory


def write_strips(directory: Path, shards: list[list[Strip]], spec: FeatureSpec = SPEC) -> Path:
    """Write these strips as partition ``train``."""
    directory.mkdir(parents=True)
    strips = [strip for shard in shards for strip in shard]
    for index, shard in enumerate(shards):
        records = [frame_record(encode_strip(strip)) for strip in shard]
        path = directory / f"train-{index:05d}-of-{len(shards):05d}.tfrecord"
        path.write_bytes(b"".join(records))
    partition = Partition(
        shards=f"train-*-of-{len(shards):05d}.tfrecord",
        n_shards=len(shards),
        strips=len(strips),
        tiles=sum(len(strip.log_mel) for strip in strips),
        recordings=len(strips),
        seconds=1.0,
        moments=Moments.total((Moments.of(strip.log_mel) for strip in strips), spec.n_mels),
    )
    info = DatasetInfo(
        SCHEMA_VERSION, spec, spec.fingerprint, LABELS, {"train": partition}, {}, {}, {}
    )
    (directory / DATASET_INFO).write_text(dump_dataset_info(info))
    return directory


def relabel(shard: Path, label: int) -> None:
    """Give all tiles of a shard the same label, or `NO_LABEL`."""
    strips = read_strips(str(shard), SPEC.tile_shape, CorruptRecords(0))
    renamed = [replace(strip, labels=(label,) * len(strip.labels)) for strip in strips]
    shard.write_bytes(b"".join(frame_record(encode_strip(strip)) for strip in renamed))


def label_songs(directory: Path, partition: str, labels: Sequence[int]) -> None:
    """Give each song of a partition, in the order of their numbers, a label or `NO_LABEL`."""
    for shard in directory.glob(f"{partition}-*.tfrecord"):
        songs = list(read_strips(str(shard), SPEC.tile_shape, CorruptRecords(0)))
        numbers = [int(song.recording_ids[0].rpartition("/")[2]) for song in songs]
        strips = [
            replace(song, labels=(labels[number],) * len(song.labels))
            for song, number in zip(songs, numbers, strict=True)
        ]
        shard.write_bytes(b"".join(frame_record(encode_strip(strip)) for strip in strips))


def shuffle_labels(directory: Path, partition: str, seed: int) -> None:
    """Deal the labels of a partition's songs out among them anew."""
    rng = np.random.default_rng(seed)
    for shard in sorted(directory.glob(f"{partition}-*.tfrecord")):
        songs = list(read_strips(str(shard), SPEC.tile_shape, CorruptRecords(0)))
        dealt = [songs[index].labels for index in rng.permutation(len(songs))]
        strips = [replace(song, labels=labels) for song, labels in zip(songs, dealt, strict=True)]
        shard.write_bytes(b"".join(frame_record(encode_strip(strip)) for strip in strips))


def node_strip(session: str, sensor: str, first_tile: int, n_tiles: int) -> Strip:
    """Tiles whose values tell the frame of the session's timeline, the same for all sensors."""
    frames, n_mels = SPEC.tile_shape
    numbers = np.arange(n_tiles * frames, dtype=np.float16) + first_tile * frames
    return Strip(
        context_id=f"{sensor}_{session}",
        session_id=session,
        sensor_id=sensor,
        first_tile=first_tile,
        log_mel=np.repeat(numbers, n_mels).reshape(n_tiles, frames, n_mels),
        recording_ids=(f"{sensor}_{session}",) * n_tiles,
        start_ms=tuple(round(tile * SPEC.tile_s * 1000) for tile in range(n_tiles)),
        labels=(int(sensor[-1]) % len(LABELS),) * n_tiles,
    )


def _song(
    name: str,
    index: int,
    spectra: np.ndarray,
    n_tiles: int,
    labelled: bool,
    spec: FeatureSpec,
    tilt: float,
    rng: np.random.Generator,
) -> Strip:
    label = index % len(LABELS)
    own = spectra[label] + rng.normal(0, 0.5, spec.n_mels) - 4
    slope = np.linspace(-1, 1, spec.n_mels) * rng.normal(0, tilt, (n_tiles, 1, 1))
    tiles = own + slope + rng.normal(0, 0.5, (n_tiles, *spec.tile_shape))
    return Strip(
        context_id=name,
        session_id=name,
        sensor_id="",
        first_tile=0,
        log_mel=tiles.astype(np.float16),
        recording_ids=(name,) * n_tiles,
        start_ms=tuple(round(tile * spec.tile_s * 1000) for tile in range(n_tiles)),
        labels=(label if labelled else NO_LABEL,) * n_tiles,
    )


def _heard_by(sensor: int, strip: Strip, rng: np.random.Generator) -> Strip:
    """What a channel of the same recording has; the recording's id is the same for all."""
    noise = rng.normal(0, 0.5, strip.log_mel.shape)
    return replace(
        strip,
        context_id=f"{strip.context_id}#channel{sensor}",
        sensor_id=f"channel{sensor}",
        log_mel=(strip.log_mel + noise).astype(np.float16),
    )
