"""Places of songs on the map, and the groups that colours show."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

_LOG = logging.getLogger(__name__)

_FEWEST_FOR_TSNE = 10
_MOST_FOR_SKLEARN = 5000  # songs; beyond that its t-SNE takes minutes
_MOST_CLUSTERS = 20
_JITTER = 1e-4  # far below the distance of two songs
_COMPONENTS = 50  # that t-SNE starts from

Floats = npt.NDArray[np.floating]


def places(unit: Floats, seed: int = 0) -> Floats:
    """Place songs in the plane, near where they are alike: ``[songs, 2]``, from -1 to 1.

    t-SNE (van der Maaten and Hinton, JMLR 9, 2008); PCA for fewer than 10 songs, and for more than
    5,000 where openTSNE is not installed.

    Args:
        unit: ``[songs, size]``, rows of length one.
        seed: for t-SNE.
    """
    if len(unit) < 3:
        return np.linspace([-0.5, 0], [0.5, 0], len(unit))
    components = PCA(min(_COMPONENTS, *unit.shape), random_state=seed).fit_transform(unit)
    # scikit-learn's t-SNE crashes on points that are all equal.
    components += np.random.default_rng(seed).normal(scale=_JITTER, size=components.shape)
    if len(unit) < _FEWEST_FOR_TSNE:
        return _scaled(_two_columns(components))
    if len(unit) > _MOST_FOR_SKLEARN:
        return _scaled(_place_many(components, seed))
    perplexity = min(30.0, (len(unit) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed)
    with threadpool_limits(1, "openmp"):  # on a busy machine, 2 take 5 times as long
        return _scaled(tsne.fit_transform(components))


def _place_many(components: Floats, seed: int) -> Floats:
    try:
        import openTSNE
    except ImportError:
        _LOG.warning("more than 5000 songs: the map shows PCA; for t-SNE install openTSNE")
        return _two_columns(components)
    return np.asarray(openTSNE.TSNE(random_state=seed, n_jobs=-1).fit(components))


def _two_columns(components: Floats) -> Floats:
    """The first two columns; zeros for one that is missing."""
    two: Floats = np.zeros((len(components), 2))
    two[:, : min(2, components.shape[1])] = components[:, :2]
    return two


def _scaled(points: Floats) -> Floats:
    centred = points - (points.max(axis=0) + points.min(axis=0)) / 2
    scaled: Floats = centred / max(float(np.abs(centred).max()), 1e-12)
    return scaled


def clusters(unit: Floats, seed: int = 0) -> list[str]:
    """Group songs by k-means; the number of groups grows with the root of the songs, up to 20."""
    k = min(max(2, round((len(unit) / 2) ** 0.5)), _MOST_CLUSTERS, len(unit))
    numbers = KMeans(k, n_init=4, random_state=seed).fit_predict(unit)
    return [f"cluster {number + 1}" for number in numbers.tolist()]


def is_scale(values: Sequence[Any]) -> bool:
    """Whether a column holds numbers, which get shades instead of colours of their own."""
    return any(isinstance(value, float) for value in values)
