import warnings

import numpy as np

from tests.trainer.plots.pixels import pixels
from trainer.plots.scatter import Groups, scatter_png

AXES = ("first", "second")


def coloured(png: bytes) -> float:
    """Share of the pixels that are not grey."""
    return float(np.mean(np.ptp(pixels(png), axis=2) > 0.1))


def test_planes_have_the_stated_size() -> None:
    groups = Groups(np.array([0, 1, -1]), ("a", "b"))
    assert pixels(scatter_png(np.eye(3, 2), groups, AXES)).shape == (750, 1050, 3)


def test_groups_are_in_colour_and_the_rest_is_grey() -> None:
    points = np.random.default_rng(0).normal(size=(200, 2))
    none = scatter_png(points, Groups(np.full(200, -1), ()), AXES)
    all_of_them = scatter_png(
        points, Groups(np.arange(200) % 20, list("abcdefghijklmnopqrst")), AXES
    )
    assert coloured(none) == 0
    assert coloured(all_of_them) > 0.01


def test_names_are_never_read_as_formulas_or_left_out() -> None:
    names = (r"$\frac{", "_private", "a\nb", "$x$")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scatter_png(np.eye(4, 2), Groups(np.arange(4), names), AXES)
