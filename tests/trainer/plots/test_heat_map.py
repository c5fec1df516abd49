import warnings

import numpy as np
import pytest

from tests.trainer.plots.pixels import pixels
from trainer.plots.heat_map import confusion_png, distances_png


def test_a_cell_is_as_dark_as_its_share_of_the_true_class() -> None:
    """One class always right, the other one half: dark, light, two alike in between."""
    png = confusion_png(np.array([[40, 0], [2, 2]]), ("rare", "often"), "title")
    picture = pixels(png).mean(axis=2)
    shades, counts = np.unique(picture.round(2), return_counts=True)
    big = shades[counts > 0.03 * picture.size]
    assert len(big) >= 3  # white and light, half, dark
    assert big.min() < 0.45


@pytest.mark.parametrize(("n", "largest"), [(1, 600), (10, 1200), (50, 1800), (500, 1800)])
def test_confusions_of_any_number_of_classes_are_pictures_of_bounded_size(
    n: int, largest: int
) -> None:
    names = [f"a rather long name of class {index}" for index in range(n)]
    height, width, _ = pixels(confusion_png(np.eye(n, dtype=int), names)).shape
    assert 300 < height <= largest
    assert 300 < width <= largest


def test_long_names_are_not_cut_off() -> None:
    """The margin of the picture is white on all sides."""
    names = ["W" * 40, "a name of middling length", "c"]
    picture = pixels(distances_png(np.eye(3), names))
    for edge in (picture[:8], picture[-8:], picture[:, :8], picture[:, -8:]):
        assert edge.min() == 1.0


def test_distances_of_nothing_are_drawn() -> None:
    assert pixels(distances_png(np.zeros((2, 2)), ("a", "b"))).shape[2] == 3


def test_names_are_never_read_as_formulas() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion_png(np.eye(4, dtype=int), (r"$\frac{", "_private", "a\nb", "$x$"))
