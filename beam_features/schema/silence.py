"""What digital silence is in log-mel tiles: features, training and vectors share the definition."""

import numpy as np
import numpy.typing as npt

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE

_MARGIN = 0.01  # log units: what is added to zeros must be above 1 % of log_offset


def silence_level(spec: FeatureSpec) -> float:
    """Log-mel value up to which a frame or a tile is silent.

    It lies just above that of zeros, before and after the rounding to the record's float16.
    """
    zeros = np.log(np.float32(spec.log_offset))
    return max(float(zeros) + _MARGIN, float(zeros.astype(LOG_MEL_DTYPE)))


def is_audible(tiles: npt.NDArray[np.floating], spec: FeatureSpec) -> npt.NDArray[np.bool_]:
    """Whether any value of a tile is above silence.

    Args:
        tiles: ``[..., tile_frames, n_mels]``, of a record or before the rounding to its type; both
            give the same answer.
        spec: the feature settings.

    Returns:
        ``[...]``.
    """
    return is_above_silence(tiles.max(axis=(-2, -1)), spec)


def is_above_silence(loudest: npt.NDArray[np.floating], spec: FeatureSpec) -> npt.NDArray[np.bool_]:
    """Whether the loudest values of tiles, of any shape, are above silence."""
    rounded = loudest.astype(LOG_MEL_DTYPE).astype(np.float32)  # a float16 would round the level
    above: npt.NDArray[np.bool_] = rounded > silence_level(spec)
    return above
