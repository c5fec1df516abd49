"""Filling in settings that depend on the data."""

import dataclasses
import logging

from beam_features.schema.dataset_info import DatasetInfo
from dem.errors import InputError
from dem.settings import build_settings
from trainer.choices import LOSSES
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features
from trainer.model.encoders import check_encoder

_LOG = logging.getLogger(__name__)
_BATCH_SIZE = 128


def resolve_config(config: TrainConfig, features: Features) -> ResolvedConfig:
    """Fill in what depends on the data: partitions, steps per epoch, fingerprint.

    Raises:
        InputError: the encoder or a partition does not exist, there are too few tiles to train on,
            or the settings are for features of another fingerprint.
    """
    info = features.info
    check_encoder(config.architecture, info.feature_spec.tile_shape)
    LOSSES[config.loss]  # raises if there is none
    check_fingerprint(config.fingerprint or info.fingerprint, features)
    roles = info.default_partitions()
    roles["validation"] = [name for name in roles["validation"] if _is_audible(info, name)]
    partitions = {}
    for role in ("train", "validation", "test"):
        asked = getattr(config, f"{role}_partitions")
        partitions[f"{role}_partitions"] = tuple(roles[role] if asked is None else asked)
        features.shard_uris(partitions[f"{role}_partitions"])  # raises if one does not exist
    if config.content_sha256 not in (None, info.content_sha256):
        raise InputError(
            f"content_sha256 of the settings differs from that of {features.uri}; use the data "
            "that they were made with, or remove content_sha256 from them"
        )
    if config.neighbourhood_s < info.feature_spec.tile_s:
        raise InputError(
            f"neighbourhood_s={config.neighbourhood_s} is shorter than a tile of "
            f"{info.feature_spec.tile_s} s; raise it"
        )
    names = partitions["train_partitions"]
    tiles = sum(info.partitions[name].tiles for name in names)
    batch_size = config.batch_size or _batch_size(tiles)
    if tiles < batch_size:
        raise InputError(
            f"batch_size={batch_size}, but the train_partitions ({', '.join(names)}) hold "
            f"{tiles} tiles; lower batch_size or choose others"
        )
    steps_per_epoch = config.steps_per_epoch or tiles // batch_size
    total_steps = config.epochs * steps_per_epoch
    if config.warmup_steps >= total_steps:
        raise InputError(
            f"warmup_steps={config.warmup_steps}, but the run has {total_steps} steps; lower "
            "warmup_steps or raise epochs"
        )
    filled_in = {
        "batch_size": batch_size,
        "steps_per_epoch": steps_per_epoch,
        "fingerprint": info.fingerprint,
        "content_sha256": info.content_sha256,
    }
    return build_settings(ResolvedConfig, dataclasses.asdict(config) | partitions | filled_in)


def _batch_size(tiles: int) -> int:
    """Return the highest power of two that the tiles fill, from 2 to 128."""
    return max(2, min(_BATCH_SIZE, 1 << max(tiles.bit_length() - 1, 0)))


def _is_audible(info: DatasetInfo, name: str) -> bool:
    """Whether a partition holds a recording that is not silent; the log tells if it does not."""
    partition = info.partitions[name]
    if partition.silent < partition.recordings:
        return True
    _LOG.warning(f"{name} holds no audible recording: it is not used, so no recall_at_1")
    return False
