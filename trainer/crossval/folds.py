"""The protocol of a dataset: the encoder and the classifier of each test partition."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from dem.errors import InputError

Mode = Literal["inductive", "transductive"]
MODES: tuple[Mode, ...] = ("inductive", "transductive")


@dataclass(frozen=True)
class Split:
    """One test of the protocol.

    Attributes:
        test: the partition that is measured.
        train: the labelled partitions that the classifier is fitted on.
        encoder: name of the encoder, which several splits may share.
        encoder_train: the partitions whose audio the encoder is trained on.
    """

    test: str
    train: tuple[str, ...]
    encoder: str
    encoder_train: tuple[str, ...]

    @property
    def is_fold(self) -> bool:
        """Whether the test is a fold; the folds together test every recording once."""
        return _is_fold(self.test)


def splits_of(partitions: Collection[str], mode: Mode) -> list[Split]:
    """List the tests of a dataset with folds: each fold is tested after training on the others.

    ESC-50 and ESC-10 have five folds. DCASE 2018 task 5 has four, and an evaluation set
    (partitions ``eval…``), tested after training on all folds.

    Args:
        partitions: names of all partitions of the dataset.
        mode: ``inductive``: no encoder is trained on what it is tested on, so there is one for each
            fold, and one for the evaluation set. ``transductive``: one encoder is trained on all
            partitions, without labels; only the classifier is fitted by folds.

    Raises:
        InputError: there are fewer than two folds.
    """
    folds = tuple(sorted(filter(_is_fold, partitions), key=lambda name: int(name[4:])))
    if len(folds) < 2:
        raise InputError(
            f"cross-validation needs partitions fold1, fold2 and so on, and there are: "
            f"{', '.join(partitions)}; measure a single split with python -m trainer.classify"
        )
    extra = tuple(sorted(name for name in partitions if name.startswith("eval")))
    splits = []
    for test in (*folds, *extra):
        train = tuple(fold for fold in folds if fold != test)
        if mode == "transductive":
            encoder, encoder_train = "all", (*folds, *extra)
        else:
            encoder, encoder_train = (f"without-{test}" if test in folds else "folds"), train
        splits.append(Split(test, train, encoder, encoder_train))
    return splits


def _is_fold(name: str) -> bool:
    return re.fullmatch(r"fold\d+", name) is not None
