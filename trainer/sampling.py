"""Anchors and neighbours from a strip: pure functions of tensors and seeds."""

import tensorflow as tf


def sample_pairs(
    log_mel: tf.Tensor,
    recordings: tf.Tensor,
    *,
    neighbourhood_tiles: int,
    silence: float,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw for every tile that is not silent an anchor around it and a neighbour of that.

    Both are cut at random frames, not only on the grid, and never across two recordings. The
    neighbour's tile is drawn uniformly from the other tiles at most `neighbourhood_tiles` away that
    are not silent; a tile that is alone becomes its own neighbour, told apart by augmentation
    alone where its recording has no other frames.

    Args:
        log_mel: ``[n_tiles, tile_frames, n_mels]``, consecutive tiles of one context.
        recordings: ``[n_tiles]``, equal where tiles are of one recording.
        neighbourhood_tiles: the largest distance in time, in tiles.
        silence: tiles whose loudest value is not above it are silent.
        seed: integers ``[2]``.

    Returns:
        Anchors and neighbours, each ``[n_pairs, tile_frames, n_mels]``.
    """
    tile_frames, n_mels = log_mel.shape[1], log_mel.shape[2]
    n_tiles = tf.shape(log_mel)[0]
    tiles = tf.range(n_tiles)
    audible = tf.reduce_max(tf.cast(log_mel, tf.float32), axis=[1, 2]) > silence
    gaps = tf.abs(tiles[:, None] - tiles[None, :])  # [n_tiles, n_tiles]
    near = (gaps > 0) & (gaps <= neighbourhood_tiles) & audible[None, :]
    draws = tf.random.stateless_uniform([n_tiles, n_tiles + 2], seed)
    drawn = tf.argmax(tf.where(near, draws[:, 2:], -1.0), axis=1, output_type=tf.int32)
    partner = tf.where(tf.reduce_any(near, axis=1), drawn, tiles)

    frames = tf.reshape(log_mel, [-1, n_mels])
    offsets = tf.range(tile_frames)

    def cut(centres: tf.Tensor, jitter: tf.Tensor) -> tf.Tensor:
        starts = _jittered_starts(centres, jitter, recordings, tile_frames)
        return tf.gather(frames, starts[:, None] + offsets)

    anchor_tiles = tf.boolean_mask(tiles, audible)
    jitter = tf.boolean_mask(draws[:, :2], audible)
    anchors = cut(anchor_tiles, jitter[:, 0])
    neighbours = cut(tf.gather(partner, anchor_tiles), jitter[:, 1])
    shape = [None, tile_frames, n_mels]
    return tf.ensure_shape(anchors, shape), tf.ensure_shape(neighbours, shape)


def _jittered_starts(
    tiles: tf.Tensor, jitter: tf.Tensor, recordings: tf.Tensor, tile_frames: int
) -> tf.Tensor:
    """First frames: up to half a tile to either side of the grid, inside the tile's recording."""
    position = tf.range(tf.shape(recordings)[0])
    same = tf.gather(recordings, tiles)[:, None] == recordings[None, :]  # [n, n_tiles]
    first = tf.reduce_min(tf.where(same, position, tf.int32.max), axis=1)
    last = tf.reduce_max(tf.where(same, position, -1), axis=1)
    shift = tf.cast(tf.round((jitter - 0.5) * tile_frames), tf.int32)
    return tf.clip_by_value(tiles * tile_frames + shift, first * tile_frames, last * tile_frames)
