"""The modulation spectrum against a plain computation, with every window and frequency by hand."""

from pathlib import Path

import numpy as np
import pytest

from trainer.model.files import load_keras, save_keras
from trainer.model.modulation import modulation_statistics
from trainer.model.vectors import as_representation

EDGES_HZ = [1, 1.748693, 3.057928, 5.347378, 9.350924, 16.351896, 28.594448, 50]


def expected_levels(tile: np.ndarray, hop_s: float) -> np.ndarray:
    """Levels ``[groups, bands]`` of a tile ``[frames, mels]`` in double precision."""
    length = min(len(tile), round(1 / hop_s))
    if length == 1:
        return np.empty((tile.shape[1], 0))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    frequencies = np.arange(length // 2 + 1) / (length * hop_s)
    starts = range(0, len(tile) - length + 1, round(0.25 / hop_s))
    rows = []
    for group in np.array_split(tile, min(16, tile.shape[1]), axis=1):
        course = group.mean(axis=1)
        powers = []
        for start in starts:
            window = course[start : start + length]
            turns = np.outer(frequencies * hop_s, np.arange(length))
            dft = np.exp(-2j * np.pi * turns) @ ((window - window.mean()) * hann)
            powers.append(2 * np.abs(dft) ** 2 / (length * np.sum(hann**2)))
        power = np.mean(powers, axis=0)
        bands = [
            power[(frequencies >= low - 1e-6) & (frequencies < high)].sum()
            for low, high in zip(EDGES_HZ, [*EDGES_HZ[1:-1], 50.000001], strict=False)
            if ((frequencies >= low - 1e-6) & (frequencies < high)).any()
        ]
        rows.append(np.log(np.array(bands) + 1e-4))
    return np.array(rows)


@pytest.mark.parametrize(
    ("n_frames", "n_mels", "hop_s", "n_levels"),
    [
        (100, 64, 0.01, 16 * 7),  # a single window
        (260, 32, 0.01, 16 * 7),  # 0, 0.25, ... 1.5 s; the last 10 frames are in none
        (16, 8, 0.01, 8 * 4),  # shorter than a window: multiples of 6.25 Hz
        (64, 16, 0.025, 16 * 6),  # up to 20 Hz
        (1, 4, 0.01, 0),  # no frequency
    ],
)
def test_levels_are_those_of_a_plain_computation(
    n_frames: int, n_mels: int, hop_s: float, n_levels: int
) -> None:
    tiles = np.random.default_rng(0).normal(-8, 3, (3, n_frames, n_mels)).astype(np.float16)
    vectors = as_representation(modulation_statistics((n_frames, n_mels), hop_s))(tiles)
    assert vectors.shape == (3, 2 * n_mels + n_levels)
    values = tiles.astype(np.float64)
    np.testing.assert_allclose(vectors[:, :n_mels], values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(vectors[:, n_mels : 2 * n_mels], values.std(axis=1), rtol=1e-5)
    levels = [expected_levels(tile, hop_s).ravel() for tile in values]
    np.testing.assert_allclose(vectors[:, 2 * n_mels :], levels, atol=2e-4)


def test_a_level_that_swings_is_in_the_band_of_its_frequency() -> None:
    """4 Hz with an amplitude of 2 has the variance 2; Hann leaks a line to each side."""
    swing = 2 * np.sin(2 * np.pi * 4 * np.arange(100) / 100) - 5
    tiles = np.repeat(swing[None, :, None], 64, axis=2)
    levels = as_representation(modulation_statistics((100, 64), 0.01))(tiles)[0, 128:]
    by_group = np.exp(levels.reshape(16, 7)) - 1e-4
    lines = np.array([0.25, 1, 0.25]) / 1.5  # of the swing at 3, 4 and 5 Hz
    np.testing.assert_allclose(by_group[:, 1], 2 * lines[0], rtol=1e-3)
    np.testing.assert_allclose(by_group[:, 2], 2 * (lines[1] + lines[2]), rtol=1e-3)
    np.testing.assert_allclose(by_group[:, [0, 3, 4, 5, 6]], 0, atol=1e-5)


def test_what_does_not_change_has_the_lowest_level() -> None:
    vectors = as_representation(modulation_statistics((100, 64), 0.01))(np.full((1, 100, 64), -7.0))
    assert vectors.shape == (1, 240)
    np.testing.assert_allclose(vectors[0, 128:], np.log(1e-4), atol=1e-3)


def test_saved_and_loaded_it_answers_alike(tmp_path: Path) -> None:
    model = modulation_statistics((100, 64), 0.01)
    tiles = np.random.default_rng(0).normal(-5, 3, (2, 100, 64))
    save_keras(model, str(tmp_path / "encoder.keras"), {})
    loaded = load_keras(str(tmp_path / "encoder.keras"))
    np.testing.assert_array_equal(as_representation(loaded)(tiles), as_representation(model)(tiles))
