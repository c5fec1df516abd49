"""PNG files as arrays."""

import io

import matplotlib.pyplot as plt
import numpy as np


def pixels(png: bytes) -> np.ndarray:
    """Colours ``[height, width, 3]``, each 0 to 1."""
    return plt.imread(io.BytesIO(png))[:, :, :3]
