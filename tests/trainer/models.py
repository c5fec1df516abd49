"""An untrained encoder, and something for it to hear."""

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from trainer.config import Architecture
from trainer.model.encoders import build_encoder


def make_encoder(spec: FeatureSpec) -> keras.Model:
    tiles = np.random.default_rng(0).normal(-6, 2, (20, *spec.tile_shape))
    return build_encoder(Architecture("conv2d"), spec.tile_shape, 16, Moments.of(tiles), seed=0)


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
