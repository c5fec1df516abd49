"""From waveforms to embeddings in one graph: what `JOB/export/saved_model` holds."""

import keras
import tensorflow as tf

from beam_features.schema.feature_spec import FeatureSpec
from trainer.model.front_end import (
    PowerSpectrum,
    fft_power,
    frame_count,
    log_mel,
    samples_of_frames,
)

_TILES_PER_BLOCK = 32  # bounds the memory of spectra and activations, however long the waveform
_WAVEFORM = tf.TensorSpec([None], tf.float32, name="waveform")
_HOP_FRAMES = tf.TensorSpec([], tf.int32, name="hop_frames")


class WaveformEncoder(tf.Module):  # type: ignore[misc]
    """A log-mel front-end and an encoder; its functions need none of our code once saved.

    ``model(waveform)`` embeds the tiles of a waveform, ``model.sliding(waveform, hop_frames)``
    tiles that overlap, ``model.tiles(log_mel)`` tiles of log-mel. Inputs and outputs are float32.
    """

    def __init__(
        self,
        encoder: keras.Model,
        spec: FeatureSpec,
        power_spectrum: PowerSpectrum = fft_power,
    ) -> None:
        super().__init__()
        self._spec, self._encoder, self._power_spectrum = spec, encoder, power_spectrum
        self._encoder_variables = [variable.value for variable in encoder.variables]  # to be saved
        tiles = tf.TensorSpec([None, *spec.tile_shape], tf.float32, name="log_mel")
        self.tiles = tf.function(self._embed_tiles, input_signature=[tiles])

    @tf.function(input_signature=[_WAVEFORM])  # type: ignore[untyped-decorator]
    def __call__(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embed the tiles that the feature job would cut; 0 samples have none.

        Args:
            waveform: mono ``[samples]`` at ``sample_rate_hz``, full scale 1. A last partial tile
                is dropped, unless it is the only one: then silence fills it up.

        Returns:
            ``embeddings`` ``[tiles, embedding_size]`` and ``start_s`` ``[tiles]``.
        """
        return self._embed(waveform, tf.constant(self._spec.tile_frames))

    @tf.function(input_signature=[_WAVEFORM, _HOP_FRAMES])  # type: ignore[untyped-decorator]
    def sliding(self, waveform: tf.Tensor, hop_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embed a tile every `hop_frames` frames; they overlap where that is less than a tile."""
        return self._embed(waveform, hop_frames)

    def _embed(self, waveform: tf.Tensor, hop_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = self._spec
        tile_frames = spec.tile_frames
        n_samples = tf.size(waveform)
        n_tiles = 1 + (frame_count(n_samples, spec) - tile_frames) // hop_frames
        n_tiles = tf.where(n_samples > 0, n_tiles, 0)
        n_blocks = tf.maximum((n_tiles + _TILES_PER_BLOCK - 1) // _TILES_PER_BLOCK, 1)
        per_block = tf.maximum(
            (n_tiles + n_blocks - 1) // n_blocks, 1
        )  # equal, so that few are padding

        span_frames = (n_blocks * per_block - 1) * hop_frames + tile_frames
        left = spec.fft_length // 2
        right = tf.maximum(samples_of_frames(span_frames, spec) - left - n_samples, 0)
        samples = tf.pad(waveform, [[left, right]])
        block_samples = samples_of_frames((per_block - 1) * hop_frames + tile_frames, spec)

        def embed_block(first_tile: tf.Tensor) -> tf.Tensor:
            begin = first_tile * hop_frames * spec.hop_length
            frames = log_mel(samples[begin : begin + block_samples], spec, self._power_spectrum)
            rows = tf.range(per_block)[:, None] * hop_frames + tf.range(tile_frames)
            return self._encode(tf.gather(frames, rows))

        embeddings = tf.map_fn(
            embed_block,
            tf.range(n_blocks) * per_block,
            fn_output_signature=tf.TensorSpec([None, self._encoder.output_shape[1]], tf.float32),
            parallel_iterations=1,
        )  # [n_blocks, per_block, embedding_size]
        embeddings = tf.reshape(embeddings, [-1, self._encoder.output_shape[1]])[:n_tiles]
        start_s = tf.cast(tf.range(n_tiles) * hop_frames, tf.float32) * spec.hop_s
        return {"embeddings": embeddings, "start_s": start_s}

    def _embed_tiles(self, tiles: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embed ``[tiles, tile_frames, n_mels]``."""
        return {"embeddings": self._encode(tiles)}

    def _encode(self, tiles: tf.Tensor) -> tf.Tensor:
        tiles = tf.ensure_shape(tiles, [None, *self._spec.tile_shape])
        return tf.cast(self._encoder(tiles, training=False), tf.float32)
