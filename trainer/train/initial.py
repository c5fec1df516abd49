"""The encoder that a run starts from: that of another training, or a new one.

The file of the other is copied into the job directory, so a run resumes without it.
"""

import dataclasses
import logging

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from dem import storage
from dem.errors import InputError
from dem.settings import describe_differences
from trainer.config import ResolvedConfig
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features
from trainer.model.files import load_keras
from trainer.model.learner import Learner, build_learner
from trainer.model.load import keras_spec, model_sha256
from trainer.runtime.job_dir import (
    CONFIG,
    ENCODER,
    INITIAL,
    INITIAL_RECORDINGS,
    TRAINING_RECORDINGS,
    read_job_config,
)

_LOG = logging.getLogger(__name__)

_SETTINGS = (
    "encoder",
    "encoder_width",
    "encoder_depth",
    "encoder_centring",
    "embedding_size",
)


def pin_initial_encoder(job_dir: str, config: ResolvedConfig) -> ResolvedConfig:
    """Fill in the digest of the encoder to start from; where a run resumes, the stored one.

    Raises:
        InputError: there is no such encoder, or it is not the one that the settings are for.
    """
    if config.init is None:
        return config
    found = None
    if storage.exists(storage.join(job_dir, CONFIG)):
        stored = read_job_config(job_dir)
        found = stored.init_sha256 if stored.init == config.init else None
    found = found or model_sha256(_source(config.init))
    if config.init_sha256 not in (None, found):
        raise InputError(
            f"init_sha256 of the settings differs from that of {config.init}; give the encoder "
            "that they were made with, or remove init_sha256 from them"
        )
    return dataclasses.replace(config, init_sha256=found)


def build_initial_learner(config: ResolvedConfig, features: Features, job_dir: str) -> Learner:
    """Build a learner; its encoder is that of `config.init`, if there is one.

    That includes the normalisation of its input, so at first the embeddings are those of the
    other. The projector and the variables of the loss are new, and so is the optimizer.

    Raises:
        InputError: the encoder to start from does not exist, has changed, or does not fit the
            settings or the features.
    """
    info, tile_shape = features.info, features.info.feature_spec.tile_shape
    if config.init is None:
        return build_learner(config, tile_shape, info.moments(config.train_partitions))
    uri = _copy_of(job_dir, config) or _unchanged(config)
    _require_same_settings(config)
    check_fingerprint(keras_spec(uri).fingerprint, features)
    initial = load_keras(uri)
    learner = build_learner(config, tile_shape, _moments(initial))
    _require_same_weights(config.init, initial, learner.encoder)
    learner.start_from(initial)
    return learner


def keep_initial_encoder(job_dir: str, config: ResolvedConfig) -> None:
    """Copy what the run starts from into its job directory, unless it is there already."""
    if config.init is None or _copy_of(job_dir, config):
        return
    source = _source(config.init)
    recordings = storage.join(source.rpartition("/")[0], TRAINING_RECORDINGS.rpartition("/")[2])
    if storage.exists(recordings):
        storage.copy(recordings, storage.join(job_dir, INITIAL_RECORDINGS))
    else:
        _LOG.warning(
            f"{recordings} does not exist, so it is not known what {source} was trained on: "
            "classify will test this training only with --transductive"
        )
    storage.copy(source, storage.join(job_dir, INITIAL))


def _source(init: str) -> str:
    """URI of the exported encoder."""
    uri = init if init.endswith(".keras") else storage.join(init, ENCODER)
    if not storage.exists(uri):
        raise InputError(f"{uri} does not exist; give --init a finished training, or its {ENCODER}")
    return uri


def _copy_of(job_dir: str, config: ResolvedConfig) -> str | None:
    """URI of the copy in the job directory; None where there is none, or of another encoder."""
    uri = storage.join(job_dir, INITIAL)
    return uri if storage.exists(uri) and model_sha256(uri) == config.init_sha256 else None


def _unchanged(config: ResolvedConfig) -> str:
    uri = _source(config.init or "")
    if model_sha256(uri) != config.init_sha256:
        raise InputError(f"{uri} has changed since this run began; choose another --job-dir")
    return uri


def _require_same_settings(config: ResolvedConfig) -> None:
    """Raise an InputError that names the settings in which a job's encoder differs."""
    init = config.init or ""
    if not storage.exists(storage.join(init, CONFIG)):
        return  # only the encoder is there: its weights will tell
    there, here = (
        {name: getattr(one, name) for name in _SETTINGS} for one in (read_job_config(init), config)
    )
    if different := describe_differences(there, here):
        raise InputError(f"--init {init} has another encoder: {different}; set them as stored")


def _require_same_weights(init: str, initial: keras.Model, encoder: keras.Model) -> None:
    """Raise an InputError that names the first weight of another shape."""
    there, here = ([tuple(v.shape) for v in model.weights] for model in (initial, encoder))
    if there == here and initial.name == encoder.name:
        return
    names = [variable.path for variable in encoder.weights]
    shapes = zip(names, there, here, strict=False)
    first = next((f"; {name}: stored {a}, requested {b}" for name, a, b in shapes if a != b), "")
    raise InputError(
        f"--init {init} has another encoder: {initial.name} of {len(there)} weights, requested "
        f"{encoder.name} of {len(here)}{first}; set {', '.join(_SETTINGS)} as in its training"
    )


def _moments(encoder: keras.Model) -> Moments:
    """The moments by which an exported encoder normalises its input."""
    normalise = encoder.get_layer("normalise").get_config()
    mean, variance = (np.ravel(normalise[name]) for name in ("mean", "variance"))
    return Moments(1, tuple(mean.tolist()), tuple((variance + mean**2).tolist()))
