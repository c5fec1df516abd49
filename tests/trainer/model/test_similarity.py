import numpy as np

from trainer.model.similarity import BilinearSimilarity


def test_the_length_of_a_row_does_not_matter() -> None:
    """So COLA's unnormalised projections would give what rows of length one give."""
    rows = np.random.default_rng(0).normal(size=(5, 128)) * 3
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = BilinearSimilarity(128, seed=0, dtype="float64")
    np.testing.assert_allclose(similarity(rows, rows), similarity(unit, unit), rtol=2e-3, atol=2e-3)


def test_the_matrix_is_learned_and_drawn_from_the_seed() -> None:
    first, again, other = (BilinearSimilarity(64, seed=seed) for seed in (1, 1, 2))
    weight = first.weight.numpy()
    assert weight.shape == (64, 64)
    assert any(variable is first.weight for variable in first.trainable_variables)
    np.testing.assert_allclose(weight.std(), 0.05, rtol=0.05)
    np.testing.assert_array_equal(weight, again.weight.numpy())
    assert (weight != other.weight.numpy()).any()
