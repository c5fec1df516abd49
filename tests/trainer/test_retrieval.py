import math

import numpy as np
import pytest

from trainer.retrieval import recall_at_1


def recall_by_loops(embeddings: np.ndarray, contexts: np.ndarray) -> float:
    hits, asked = 0, 0
    for i, anchor in enumerate(embeddings):
        if (contexts == contexts[i]).sum() < 2:
            continue
        asked += 1
        others = [j for j in range(len(embeddings)) if j != i]
        cosine = [
            anchor @ embeddings[j] / np.linalg.norm(anchor) / np.linalg.norm(embeddings[j])
            for j in others
        ]
        hits += contexts[others[int(np.argmax(cosine))]] == contexts[i]
    return hits / asked


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, 30, 60)
    embeddings = rng.normal(size=(30, 4))[contexts] + rng.normal(0, 0.3, (60, 4))
    recall = recall_at_1(embeddings, contexts)
    assert recall == pytest.approx(recall_by_loops(embeddings, contexts))
    assert 0.1 < recall < 0.9


def test_more_rows_than_a_block() -> None:
    """2500 tiles on a circle, two per context side by side; the next context is farther away."""
    pairs = np.repeat(np.arange(1250), 2)
    angle = 2 * np.pi * (pairs + 0.2 * np.tile([0, 1], 1250)) / 1250
    assert recall_at_1(np.stack([np.cos(angle), np.sin(angle)], axis=1), pairs) == 1


def test_length_of_the_embeddings_does_not_count() -> None:
    embeddings = np.array([[1.0, 0], [100, 1], [0, 1], [1, 100]])
    assert recall_at_1(embeddings, np.array(["a", "a", "b", "b"])) == 1
    assert recall_at_1(embeddings, np.array(["a", "b", "a", "b"])) == 0


def test_contexts_of_one_tile_are_candidates_but_not_asked() -> None:
    embeddings = np.array([[1.0, 0], [0.9, 0.1], [0, 1]])
    assert recall_at_1(embeddings, np.array(["a", "lone", "a"])) == 0
    assert math.isnan(recall_at_1(embeddings, np.array(["a", "b", "c"])))
