"""Writing a trained encoder to files that others can use: the job's ``export/`` directory.

``encoder.keras`` takes log-mel tiles, ``saved_model`` waveforms. Both carry `FEATURE_SPEC`, so that
it is known which features they are for. Neither needs our code.
"""

import os
import tempfile

import keras
import tensorflow as tf

from beam_features.schema.feature_spec import FEATURE_SPEC, FeatureSpec, dump_feature_spec
from dem import storage
from trainer.model.files import save_keras
from trainer.model.load import MARKER
from trainer.model.waveform import WaveformEncoder
from trainer.runtime.job_dir import ENCODER, SAVED_MODEL


def export_encoder(encoder: keras.Model, spec: FeatureSpec, job_dir: str) -> None:
    """Write ``JOB/export/``, each file complete or not at all.

    The copies compute in single precision, whatever the encoder was trained in.
    """
    encoder = in_single_precision(encoder)
    uri = storage.join(job_dir, ENCODER)
    save_keras(encoder, uri, {FEATURE_SPEC: dump_feature_spec(spec)})
    save_waveform_encoder(WaveformEncoder(encoder, spec), spec, storage.join(job_dir, SAVED_MODEL))


def save_waveform_encoder(model: WaveformEncoder, spec: FeatureSpec, uri: str) -> None:
    """Write a SavedModel directory; `saved_model.pb` comes last."""
    with tempfile.TemporaryDirectory() as directory:
        spec_path = os.path.join(directory, FEATURE_SPEC)
        with open(spec_path, "w", encoding="utf-8") as file:
            file.write(dump_feature_spec(spec))
        model.feature_spec = tf.saved_model.Asset(spec_path)
        local = os.path.join(directory, "saved_model")
        model.trace()
        tf.saved_model.save(model, local, model.signatures())
        storage.upload_directory(local, uri, last=MARKER)


def in_single_precision(encoder: keras.Model) -> keras.Model:
    """Copy an encoder, outside of any distribution strategy, with float32 layers."""

    def copy(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, keras.Layer):  # an operation, such as the + in hard swish
            return layer
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copied = keras.models.clone_model(encoder, clone_function=copy, recursive=True)
    copied.set_weights(encoder.get_weights())
    return copied
