"""From waveforms to embeddings in one graph: what `JOB/export/saved_model` holds."""

from collections.abc import Callable

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
_HOP_FRAMES = tf.TensorSpec([], tf.int32, name="hop_frames")
_RATE_HZ = tf.TensorSpec([], tf.int32, name="sample_rate_hz")
WAVEFORM = tf.TensorSpec([None], tf.float32, name="waveform")
FULL_SCALE = {"float32": 1.0, "float64": 1.0, "int16": 2.0**15, "int32": 2.0**31}
"""Largest magnitude of a sample, by type."""


class WaveformEncoder(tf.Module):  # type: ignore[misc]
    """A log-mel front-end and an encoder; its functions need none of our code once saved.

    ``model(waveform)`` embeds the tiles of a waveform, ``model.sliding(waveform, hop_frames)``
    tiles that overlap, ``model.tiles(log_mel)`` tiles of log-mel. Outputs are float32.

    A waveform has one channel ``[samples]``, of a type in `FULL_SCALE`; integers are divided by
    their full scale. Both take a last argument ``sample_rate_hz``, which is checked. Another rank,
    another rate, NaN and infinite samples are errors, also in the exported model.
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
        self._embed: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]] = tf.function(
            self._embed_samples, input_signature=[WAVEFORM, _HOP_FRAMES]
        )

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def __call__(
        self, waveform: tf.Tensor, sample_rate_hz: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Embed the tiles that the feature job would cut; 0 samples have none.

        A last partial tile is dropped, unless it is the only one: then silence fills it up.

        Returns:
            ``embeddings`` ``[tiles, embedding_size]`` and ``start_s`` ``[tiles]``.
        """
        samples = self._checked(waveform, sample_rate_hz)
        return self._embed(samples, tf.constant(self._spec.tile_frames))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def sliding(
        self, waveform: tf.Tensor, hop_frames: tf.Tensor, sample_rate_hz: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Embed a tile every `hop_frames` frames; they overlap where that is less than a tile."""
        return self._embed(self._checked(waveform, sample_rate_hz), tf.cast(hop_frames, tf.int32))

    def trace(self) -> None:
        """Trace the functions for all arguments that an exported model is to take."""
        for name in FULL_SCALE:
            waveform = tf.TensorSpec(None, name, name="waveform")
            for rate in ((), (_RATE_HZ,)):
                self.__call__.get_concrete_function(waveform, *rate)
                self.sliding.get_concrete_function(waveform, _HOP_FRAMES, *rate)

    def signatures(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """Functions for TensorFlow Serving, by name."""
        return {
            "serving_default": self.__call__.get_concrete_function(WAVEFORM),
            "sliding": self.sliding.get_concrete_function(WAVEFORM, _HOP_FRAMES),
            "tiles": self.tiles,
        }

    def _checked(self, waveform: tf.Tensor, sample_rate_hz: tf.Tensor | None) -> tf.Tensor:
        """Return float32 ``[samples]`` of full scale 1, or fail."""
        waveform = tf.convert_to_tensor(waveform)
        name = waveform.dtype.name
        if name not in FULL_SCALE:
            raise TypeError(f"the waveform is {name}; give one of: {', '.join(FULL_SCALE)}")
        checks = []
        if waveform.shape.rank != 1:  # unknown when it is traced for export
            shape = tf.shape(waveform)
            text = tf.strings.format(
                "the waveform has shape {}, not [samples]: give one channel", shape
            )
            checks.append(tf.debugging.Assert(tf.equal(tf.size(shape), 1), [text]))
        if sample_rate_hz is not None:
            rate_hz, own_hz = tf.cast(sample_rate_hz, tf.int32), self._spec.sample_rate_hz
            text = tf.strings.format(
                f"the waveform has {{}} Hz, the model takes {own_hz} Hz: resample it", rate_hz
            )
            checks.append(tf.debugging.Assert(tf.equal(rate_hz, own_hz), [text]))
        with tf.control_dependencies(checks):
            samples = tf.cast(waveform, tf.float32) / FULL_SCALE[waveform.dtype.name]
        samples = tf.debugging.check_numerics(samples, "the waveform holds NaN or infinite samples")
        return tf.reshape(samples, [-1])

    def _embed_samples(self, waveform: tf.Tensor, hop_frames: tf.Tensor) -> dict[str, tf.Tensor]:
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
