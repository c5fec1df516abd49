"""Rivals of a trained encoder: what vectors are worth that no training has made."""

import dataclasses

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from dem import storage
from dem.errors import InputError
from trainer.choices import EmbeddingKind
from trainer.embed.stored import built_encoder, statistics_encoder, untrained_encoder
from trainer.model.files import load_keras
from trainer.model.load import ExportedModel, keras_spec, open_model
from trainer.model.waveform import WaveformEncoder
from trainer.runtime.job_dir import CONFIG, ENCODER, read_job_config


def open_encoder(uri: str, kind: EmbeddingKind) -> ExportedModel:
    """Load a model, or build what it is compared with.

    Args:
        uri: of the model; with another kind than ``trained``, the job directory of a finished
            training.
        kind: ``trained``; ``random``: the same architecture with the weights that the training
            began with, and its normalisation; ``none``: log-mel mean and standard deviation;
            ``modulation``: these and the modulation spectrum.

    Raises:
        InputError: there is no such model.
    """
    if kind == "trained":
        return open_model(uri)
    encoder_uri = storage.join(uri, ENCODER)
    if not (storage.exists(storage.join(uri, CONFIG)) and storage.exists(encoder_uri)):
        raise InputError(
            f"{uri!r} is not the job directory of a finished training, which --encoder {kind} takes"
        )
    spec, job = keras_spec(encoder_uri), read_job_config(uri)
    model = (
        untrained_encoder(spec, job, _moments(load_keras(encoder_uri)))
        if kind == "random"
        else statistics_encoder(kind, spec)
    ).model
    settings = dataclasses.asdict(job.architecture)
    settings |= {"kind": kind, "fingerprint": spec.fingerprint}
    sha256 = built_encoder(kind, model, settings).sha256
    size = model.output_shape[1]
    return ExportedModel(encoder_uri, spec, size, WaveformEncoder(model, spec), sha256)


def _moments(encoder: keras.Model) -> Moments:
    """Read what an encoder normalises with."""
    config = encoder.get_layer("normalise").get_config()
    mean, variance = (np.ravel(config[name]) for name in ("mean", "variance"))
    return Moments(1, tuple(mean.tolist()), tuple((variance + mean**2).tolist()))
