"""Loading exported models, and their digest."""

import hashlib
import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.feature_spec import FEATURE_SPEC, FeatureSpec, parse_feature_spec
from dem import storage
from dem.errors import InputError
from trainer.model.files import load_keras
from trainer.model.waveform import FULL_SCALE, WaveformEncoder
from trainer.runtime.job_dir import CONFIG, ENCODER, SAVED_MODEL
from trainer.runtime.tensorflow_files import local_copy

MARKER = "saved_model.pb"  # a directory with it is a SavedModel
_SPEC_ASSET = f"assets/{FEATURE_SPEC}"  # where TensorFlow puts the files that a model refers to

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExportedModel:
    """A model that was exported, loaded for use."""

    uri: str
    spec: FeatureSpec
    embedding_size: int
    _functions: WaveformEncoder  # or what TensorFlow made of a saved one
    sha256: str

    def embed_waveform(
        self, waveform: npt.NDArray[np.generic], sample_rate_hz: int
    ) -> tuple[Float32, Float32]:
        """Embed the tiles of a waveform.

        Args:
            waveform: mono ``[samples]``, of a type in `FULL_SCALE`.
            sample_rate_hz: its rate, which must be that of the model.

        Returns:
            Embeddings ``[tiles, embedding_size]`` and where each tile starts in s ``[tiles]``.

        Raises:
            InputError: the model does not take such a waveform.
        """
        if waveform.ndim != 1:
            raise InputError(
                f"the waveform has shape {waveform.shape}, not [samples]: give one channel"
            )
        if sample_rate_hz != self.spec.sample_rate_hz:
            raise InputError(
                f"the waveform has {sample_rate_hz} Hz, the model takes "
                f"{self.spec.sample_rate_hz} Hz: resample it"
            )
        embedded = self._functions(full_scale(waveform))
        return embedded["embeddings"].numpy(), embedded["start_s"].numpy()

    def embed_sliding(self, waveform: Float32, hop_frames: int) -> tf.Tensor:
        """Embed a tile every `hop_frames` frames: ``[tiles, embedding_size]``."""
        return self._functions.sliding(waveform, hop_frames)["embeddings"]

    def embed_tiles(self, tiles: npt.NDArray[np.floating]) -> Float32:
        """Embed ``[tiles, tile_frames, n_mels]``."""
        embeddings: Float32 = self._functions.tiles(tiles.astype(np.float32))["embeddings"].numpy()
        return embeddings


def full_scale(samples: npt.NDArray[np.generic]) -> Float32:
    """Return samples of any shape as float32 of full scale 1.

    Raises:
        InputError: their type has no known full scale, or one is NaN or infinite.
    """
    name = samples.dtype.name
    if name not in FULL_SCALE:
        raise InputError(f"the waveform is {name}; give one of: {', '.join(FULL_SCALE)}")
    scaled = samples.astype(np.float32) / np.float32(FULL_SCALE[name])
    if not np.isfinite(scaled).all():
        raise InputError("the waveform holds NaN or infinite samples")
    return scaled


def open_model(uri: str) -> ExportedModel:
    """Load an exported model: a job directory, its ``saved_model`` or its ``encoder.keras``.

    Raises:
        InputError: there is none, or it does not say which features it is for.
    """
    uri = model_uri(uri)
    if uri.endswith(".keras"):
        spec = keras_spec(uri)
        functions = WaveformEncoder(load_keras(uri), spec)
    else:
        spec = _saved_model_spec(uri)
        files = [file[len(uri) + 1 :] for file in storage.list_files(uri)]
        with local_copy(uri, files) as path:
            functions = tf.saved_model.load(path)
    one_tile = functions.tiles(tf.zeros([1, *spec.tile_shape]))
    return ExportedModel(uri, spec, one_tile["embeddings"].shape[1], functions, model_sha256(uri))


def model_uri(uri: str) -> str:
    """Resolve the URI of a model: for a job directory, that of its SavedModel.

    Raises:
        InputError: there is none.
    """
    uri = uri.rstrip("/")
    if uri.endswith(".keras") and storage.exists(uri):
        return uri
    if storage.exists(storage.join(uri, CONFIG)):
        uri = storage.join(uri, SAVED_MODEL)
        if not storage.exists(storage.join(uri, MARKER)):
            raise InputError(
                f"{uri} does not exist: finish the training with python -m trainer.train"
            )
    if storage.exists(storage.join(uri, MARKER)):
        return uri
    raise InputError(
        f"{uri!r} is not a model; give a job directory, its {SAVED_MODEL} or its {ENCODER}"
    )


def model_sha256(uri: str) -> str:
    """Digest of all files of a model, which differs between models."""
    digest = hashlib.sha256()
    for file in [uri] if uri.endswith(".keras") else storage.list_files(uri):
        digest.update(storage.read_bytes(file))
    return digest.hexdigest()


def keras_spec(uri: str) -> FeatureSpec:
    """Read which features an exported ``.keras`` file is for.

    Raises:
        InputError: it does not say.
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
