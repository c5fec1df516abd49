"""Quality of an embedding without a classifier: neighbours, clusters, hubs and dimensions."""

from typing import Any

import numpy as np
from scipy.stats import skew
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score, v_measure_score

from trainer.data.vector_table import VectorTable
from trainer.metrics.candidates import apart_in_time, of_other_sessions, starts_in_context
from trainer.metrics.collapse import effective_rank, relative_std
from trainer.metrics.neighbours import Ints, Vectors, nearest_others, unit_rows
from trainer.metrics.retrieval import retrieval_scores

_MOST_ROWS = 4096  # silhouette, hubness and retrieval compare each row with each
_STARTS = 10  # of k-means; the tightest clusters win


def measure_quality(table: VectorTable, seed: int, gap_s: float) -> dict[str, Any]:
    """Measure vectors by label, by context and without either; ready for JSON.

    By label, a query cannot find rows of its session; by context, it cannot find tiles of its
    context that start less than `gap_s` away, see `trainer.metrics.candidates`. (Of recordings that
    share a context it is not known when they were made, so none is left out.)

    From more than 4096 rows, 4096 are drawn; the measures by label draw from the labelled rows.
    Tables of different sizes then compare only roughly, since fewer rows of a context are drawn
    from a larger table. Digital silence has the same vector everywhere: exclude it beforehand, by
    the column `audible`, or it counts as hubs and as tiles of the wrong context.

    Args:
        table: of tiles or of recordings; vectors are finite.
        seed: for the drawn rows and for k-means.
        gap_s: see above.

    Returns:
        ``rows`` and ``labelled_rows``, how many were measured; ``recall_at_1``, ``recall_at_5``,
        ``recall_at_10``, ``map_at_10`` and ``r_precision``, each with ``_by_label`` and
        ``_by_context``, see `retrieval_scores`; ``silhouette`` and ``v_measure``,
        by label; ``hubness``; ``effective_rank`` and ``embedding_std``, see `collapse`.
        What is not defined is None, never NaN.
    """
    drawn = _draw(table, seed)
    named = _draw(table.labelled, seed)
    by_label = retrieval_scores(named.vectors, named.labels, of_other_sessions(named.session_ids))
    starts_ms = starts_in_context(drawn.context_ids, drawn.recording_ids, drawn.start_ms)
    apart = apart_in_time(drawn.context_ids, starts_ms, gap_s)
    by_context = retrieval_scores(drawn.vectors, drawn.context_ids, apart)
    return {
        "rows": len(drawn.labels),
        "labelled_rows": len(named.labels),
        **{f"{name}_by_label": value for name, value in by_label.items()},
        **{f"{name}_by_context": value for name, value in by_context.items()},
        "silhouette": silhouette(named.vectors, named.labels),
        "v_measure": v_measure(named.vectors, named.labels, seed),
        "hubness": hubness(drawn.vectors),
        "effective_rank": effective_rank(drawn.vectors) if len(drawn.labels) else None,
        "embedding_std": relative_std(drawn.vectors) if len(drawn.labels) else None,
    }


def silhouette(vectors: Vectors, labels: Ints) -> float | None:
    """Mean over the rows of (b - a) / max(a, b), from -1 to 1; rows alone in their label have 0.

    a is the mean cosine distance to the others of the row's label, b that to the rows of the
    nearest other label (Rousseeuw, J. Comput. Appl. Math. 20, 1987). About 0 where labels overlap.

    Args:
        vectors: ``[n, size]``, rows of any length.
        labels: ``[n]``.

    Returns:
        None unless there are two labels, one of them with two rows.
    """
    if not _comparable(labels):
        return None
    return float(silhouette_score(vectors, labels, metric="cosine"))


def v_measure(vectors: Vectors, labels: Ints, seed: int) -> float | None:
    """Agreement of labels with as many clusters of k-means on the directions, 0 to 1.

    The harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg, EMNLP-CoNLL 2007).
    It is not adjusted for chance: with many labels of few rows, random vectors are well above 0.

    Args:
        vectors: ``[n, size]``, rows of any length.
        labels: ``[n]``.
        seed: for the starts of k-means, 10 of them.

    Returns:
        None unless there are two labels, one of them with two rows.
    """
    if not _comparable(labels):
        return None
    directions = unit_rows(vectors.astype(np.float64))
    k_means = KMeans(len(np.unique(labels)), n_init=_STARTS, random_state=seed)
    return float(v_measure_score(labels, k_means.fit_predict(directions)))


def hubness(vectors: Vectors, k: int = 10) -> float | None:
    """Skewness of how often rows are among the k nearest others of a row, by cosine.

    About 0 where all rows occur equally often; it grows as a few rows, hubs, are near to many
    (Radovanović et al., JMLR 11, 2010, equation 1). Among equal rows, the first become hubs.

    Args:
        vectors: ``[n, size]``, rows of any length.
        k: how many nearest others are counted.

    Returns:
        None with fewer than k + 1 rows, or where all occur equally often.
    """
    if len(vectors) <= k:
        return None
    occurrences = np.bincount(nearest_others(vectors, k).rows.ravel(), minlength=len(vectors))
    return float(skew(occurrences)) if np.ptp(occurrences) else None


def _draw(table: VectorTable, seed: int) -> VectorTable:
    """Draw at most 4096 rows without replacement, in the order of the table."""
    n = len(table.labels)
    rows = np.random.default_rng(seed).permutation(n)[:_MOST_ROWS]
    return table.select(np.sort(rows))


def _comparable(labels: Ints) -> bool:
    return 2 <= len(np.unique(labels)) < len(labels)
