import pytest

from dem.errors import InputError
from trainer.crossval.folds import Split, splits_of

ESC = ["fold3", "fold1", "fold2"]
DCASE = ["fold1", "fold2", "eval-unknown", "eval-known"]


def test_each_fold_is_tested_by_what_the_others_taught() -> None:
    assert splits_of(ESC, "inductive") == [
        Split("fold1", ("fold2", "fold3"), "without-fold1", ("fold2", "fold3")),
        Split("fold2", ("fold1", "fold3"), "without-fold2", ("fold1", "fold3")),
        Split("fold3", ("fold1", "fold2"), "without-fold3", ("fold1", "fold2")),
    ]


def test_transductive_has_one_encoder_but_the_classifiers_keep_to_the_folds() -> None:
    splits = splits_of(ESC, "transductive")
    assert {split.encoder for split in splits} == {"all"}
    assert {split.encoder_train for split in splits} == {("fold1", "fold2", "fold3")}
    assert [split.train for split in splits] == [s.train for s in splits_of(ESC, "inductive")]


def test_the_evaluation_set_is_tested_by_all_folds_with_one_encoder() -> None:
    *folds, known, unknown = splits_of(DCASE, "inductive")
    assert [split.test for split in folds] == ["fold1", "fold2"]
    assert known == Split("eval-known", ("fold1", "fold2"), "folds", ("fold1", "fold2"))
    assert unknown == Split("eval-unknown", ("fold1", "fold2"), "folds", ("fold1", "fold2"))
    assert [split.is_fold for split in (*folds, known)] == [True, True, False]


def test_inductive_encoders_and_classifiers_hear_nothing_of_the_test() -> None:
    for split in splits_of(DCASE, "inductive"):
        assert split.test not in (*split.train, *split.encoder_train)


def test_folds_are_in_the_order_of_their_numbers() -> None:
    names = [f"fold{number}" for number in (10, 9, 2, 1)]
    assert [s.test for s in splits_of(names, "inductive")] == ["fold1", "fold2", "fold9", "fold10"]


@pytest.mark.parametrize("names", [["train", "validation", "test"], ["fold1", "eval"]])
def test_data_without_folds_are_told_what_to_do(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"there are: .*; measure a single split with"):
        splits_of(names, "inductive")
