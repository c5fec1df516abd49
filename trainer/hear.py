"""The HEAR benchmark's common API: https://hearbenchmark.com/hear-api.html.

``hear-validator trainer.hear --model JOB`` checks it; ``heareval`` embeds and scores.
"""

import math

import numpy as np
import tensorflow as tf

from dem.errors import InputError
from trainer.model.load import ExportedModel, Float32, full_scale, open_model

_LONGEST_HOP_S = 0.050  # HEAR's tolerance for the onset of an event


class HearModel(tf.Module):  # type: ignore[misc]
    """A model with the attributes that HEAR requires."""

    def __init__(self, exported: ExportedModel) -> None:
        super().__init__()
        self.exported = exported
        self.sample_rate = exported.spec.sample_rate_hz
        self.scene_embedding_size = exported.embedding_size
        self.timestamp_embedding_size = exported.embedding_size

    @property
    def hop_frames(self) -> int:
        """Frames between two timestamps: as many as fit into 50 ms, at least one."""
        return max(1, math.floor(_LONGEST_HOP_S / self.exported.spec.hop_s + 1e-6))

    @property
    def hop_samples(self) -> int:
        """Samples between two timestamps."""
        return self.hop_frames * self.exported.spec.hop_length


def load_model(model_file_path: str) -> HearModel:
    """Load a job directory, its ``saved_model`` or its ``encoder.keras``.

    Raises:
        InputError: there is no model.
    """
    return HearModel(open_model(model_file_path))


def get_scene_embeddings(audio: tf.Tensor, model: HearModel) -> tf.Tensor:
    """Embed each sound as the mean over its tiles.

    Args:
        audio: ``[n_sounds, n_samples]``, mono, at ``model.sample_rate``: floats in [-1, 1],
            or 16- or 32-bit integers.
        model: from `load_model`.

    Returns:
        float32 ``[n_sounds, scene_embedding_size]``.
    """
    tile_frames = model.exported.spec.tile_frames
    embeddings = [model.exported.embed_sliding(sound, tile_frames) for sound in _sounds(audio)]
    return tf.stack([tf.reduce_mean(tiles, axis=0) for tiles in embeddings])


def get_timestamp_embeddings(audio: tf.Tensor, model: HearModel) -> tuple[tf.Tensor, tf.Tensor]:
    """Embed tiles centred at regular timestamps; silence surrounds the sounds.

    Args:
        audio: ``[n_sounds, n_samples]``, mono, at ``model.sample_rate``: floats in [-1, 1],
            or 16- or 32-bit integers.
        model: from `load_model`.

    Returns:
        Embeddings float32 ``[n_sounds, n_timestamps, timestamp_embedding_size]``, and timestamps in
        ms, float32 ``[n_sounds, n_timestamps]``: 0 and every 50 ms, or slightly less if 50 ms are
        not a whole number of frames.
    """
    spec, hop_samples = model.exported.spec, model.hop_samples
    sounds = _sounds(audio)
    n_timestamps = 1 + sounds.shape[1] // hop_samples
    # The frames of the first tile are centred at the first sample, those of the last likewise.
    left = (spec.tile_frames - 1) * spec.hop_length // 2
    needed = (n_timestamps - 1) * hop_samples + spec.tile_frames * spec.hop_length
    right = max(needed - left - sounds.shape[1], 0)
    padded = np.pad(sounds, [(0, 0), (left, right)])
    embeddings = [
        model.exported.embed_sliding(sound, model.hop_frames)[:n_timestamps] for sound in padded
    ]
    hop_ms = 1000 * hop_samples / spec.sample_rate_hz
    timestamps = tf.range(n_timestamps, dtype=tf.float32) * hop_ms
    return tf.stack(embeddings), tf.tile(timestamps[None], [sounds.shape[0], 1])


def _sounds(audio: tf.Tensor) -> Float32:
    """Return ``[n_sounds, n_samples]`` of full scale 1."""
    sounds = full_scale(np.asarray(audio))
    if sounds.ndim != 2:
        raise InputError(f"audio has shape {sounds.shape}; HEAR gives [n_sounds, n_samples]")
    return sounds
