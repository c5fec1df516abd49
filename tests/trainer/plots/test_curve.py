import numpy as np

from tests.trainer.plots.pixels import pixels
from trainer.plots.curve import curve_png


def test_curves_have_the_stated_size() -> None:
    for n in (2, 200):
        steps = np.arange(n)
        assert pixels(curve_png(steps, np.cos(steps), "loss")).shape == (525, 900, 3)
