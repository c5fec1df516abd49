import numpy as np

from trainer.plots.embedding import (
    MOST_POINTS,
    group,
    pictures_by_context,
    pictures_by_label,
    place,
)


def test_the_most_frequent_names_are_groups_and_no_name_is_none() -> None:
    names = np.array([f"n{index:02}" for index in range(30) for _ in range(1 + index)] + [""] * 99)
    groups = group(names, "others")
    assert list(groups.names) == [f"n{index:02}" for index in range(10, 30)]
    assert set(groups.members[names == ""]) == set(groups.members[names == "n09"]) == {-1}
    assert set(groups.members[names == "n10"]) == {0}


def test_of_many_vectors_some_contexts_are_placed() -> None:
    vectors = np.random.default_rng(0).normal(size=(20_000, 4))
    planes = place(vectors, np.arange(20_000) // 20, seed=0)
    assert len(planes.rows) == MOST_POINTS
    assert planes.pca.shape == planes.tsne.shape == (MOST_POINTS, 2)
    assert len(np.unique(planes.rows // 20)) == MOST_POINTS // 20


def test_pictures_are_those_that_there_is_something_to_see_in() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 4))
    planes = place(vectors, np.arange(12), seed=0)
    one, two, none = np.zeros(12, int), np.arange(12) % 2, np.full(12, -1)
    planar = {"pca_by_label", "tsne_by_label"}
    assert pictures_by_label(planes, vectors, one, ("a",)).keys() == planar
    assert pictures_by_label(planes, vectors, two, ("a", "b")).keys() == {
        *planar,
        "label_distances",
    }
    assert pictures_by_label(planes, vectors, none, ("a", "b")) == {}
    assert len(pictures_by_context(planes, np.arange(12))) == 2
    silent = np.array([], np.str_)
    assert pictures_by_context(place(vectors[:0], silent, seed=0), silent) == {}
