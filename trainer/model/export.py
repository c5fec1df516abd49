"""A trained encoder as files that others can use, and the way back to a model.

``encoder.keras`` takes log-mel tiles, ``saved_model`` waveforms. Both carry `FEATURE_SPEC`, so that
whoever loads one knows which features it is for. Neither needs our code.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.feature_spec import (
    FEATURE_SPEC,
    FeatureSpec,
    dump_feature_spec,
    parse_feature_spec,
)
from dem import storage
from dem.errors import InputError
from trainer.model.files import load_keras, save_keras
from trainer.model.waveform import WaveformEncoder
from trainer.runtime.job_dir import CONFIG, ENCODER, SAVED_MODEL
from trainer.runtime.tensorflow_files import reading

_MARKER = "saved_model.pb"  # what makes a directory a SavedModel
_SPEC_ASSET = f"assets/{FEATURE_SPEC}"  # where TensorFlow puts the files that a model refers to

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExportedModel:
    """A model that was exported, loaded for use."""

    uri: str
    spec: FeatureSpec
    embedding_size: int
    _functions: WaveformEncoder  # or what TensorFlow made of a saved one

    def embed_waveform(self, waveform: Float32) -> tuple[Float32, Float32]:
        """Embed the tiles of mono ``[samples]`` at ``spec.sample_rate_hz``.

        Returns:
            Embeddings ``[tiles, embedding_size]`` and where each tile starts in s ``[tiles]``.
        """
        embedded = self._functions(waveform)
        return embedded["embeddings"].numpy(), embedded["start_s"].numpy()

    def embed_sliding(self, waveform: tf.Tensor, hop_frames: int) -> tf.Tensor:
        """Embed a tile every `hop_frames` frames: ``[tiles, embedding_size]``."""
        return self._functions.sliding(waveform, hop_frames)["embeddings"]

    def embed_tiles(self, tiles: npt.NDArray[np.floating]) -> Float32:
        """Embed ``[tiles, tile_frames, n_mels]``."""
        embeddings: Float32 = self._functions.tiles(tiles.astype(np.float32))["embeddings"].numpy()
        return embeddings


def export_encoder(encoder: keras.Model, spec: FeatureSpec, job_dir: str) -> None:
    """Write ``JOB/export/``, each file complete or not at all.

    The copies compute in single precision, whatever the encoder was trained in.
    """
    encoder = _in_single_precision(encoder)
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
        signatures = {
            "serving_default": model.__call__,
            "sliding": model.sliding,
            "tiles": model.tiles,
        }
        tf.saved_model.save(model, local, signatures)
        storage.upload_directory(local, uri, last=_MARKER)


def open_model(uri: str) -> ExportedModel:
    """Load an exported model: a job directory, its ``saved_model`` or its ``encoder.keras``.

    Raises:
        InputError: there is none, or it does not tell which features it is for.
    """
    uri = model_uri(uri)
    if uri.endswith(".keras"):
        spec = keras_spec(uri)
        functions = WaveformEncoder(load_keras(uri), spec)
    else:
        spec = _saved_model_spec(uri)
        with reading(uri):
            functions = tf.saved_model.load(uri)
    one_tile = functions.tiles(tf.zeros([1, *spec.tile_shape]))
    return ExportedModel(uri, spec, one_tile["embeddings"].shape[1], functions)


def model_uri(uri: str) -> str:
    """Find the model that is meant: of a job directory its SavedModel.

    Raises:
        InputError: there is none.
    """
    uri = uri.rstrip("/")
    if uri.endswith(".keras") and storage.exists(uri):
        return uri
    if storage.exists(storage.join(uri, CONFIG)):
        uri = storage.join(uri, SAVED_MODEL)
        if not storage.exists(storage.join(uri, _MARKER)):
            raise InputError(
                f"{uri} does not exist: finish the training with python -m trainer.train"
            )
    if storage.exists(storage.join(uri, _MARKER)):
        return uri
    raise InputError(
        f"{uri!r} is no model; give a job directory, its {SAVED_MODEL} or its {ENCODER}"
    )


def model_sha256(uri: str) -> str:
    """Digest of the file or of all files of a model, so that two models can be told apart."""
    digest = hashlib.sha256()
    for file in [uri] if uri.endswith(".keras") else storage.list_files(uri):
        digest.update(storage.read_bytes(file))
    return digest.hexdigest()


def keras_spec(uri: str) -> FeatureSpec:
    """Read which features an exported ``.keras`` file is for.

    Raises:
        InputError: it does not tell.
    """
    with zipfile.ZipFile(io.BytesIO(storage.read_bytes(uri))) as archive:
        if FEATURE_SPEC not in archive.namelist():
            raise InputError(
                f"{uri} holds no {FEATURE_SPEC}, so it was not exported by python -m "
                "trainer.train; give a model that was"
            )
        return parse_feature_spec(archive.read(FEATURE_SPEC).decode(), uri)


def _saved_model_spec(uri: str) -> FeatureSpec:
    spec_uri = storage.join(uri, _SPEC_ASSET)
    if not storage.exists(spec_uri):
        raise InputError(
            f"{spec_uri} does not exist, so {uri} was not exported by python -m trainer.train; "
            "give a model that was"
        )
    return parse_feature_spec(storage.read_text(spec_uri), spec_uri)


def _in_single_precision(encoder: keras.Model) -> keras.Model:
    """Copy an encoder, outside of any distribution strategy, with float32 layers."""

    def copy(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, keras.Layer):  # an operation, such as the + in hard swish
            return layer
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copied = keras.models.clone_model(encoder, clone_function=copy, recursive=True)
    copied.set_weights(encoder.get_weights())
    return copied
