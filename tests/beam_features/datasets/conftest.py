"""Small trees in the layout of the public datasets, with real audio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.dcase import RATE_HZ, write_development_lists, write_evaluation_lists, write_wav

DEVELOPMENT_SET = [  # fold, activity, file
    (1, "cooking", "DevNode1_ex1_1.wav"),
    (1, "cooking", "DevNode1_ex1_2.wav"),
    (1, "cooking", "DevNode1_ex1_4.wav"),  # 3 is missing
    (1, "cooking", "DevNode2_ex1_1.wav"),
    (2, "working", "DevNode1_ex2_3.wav"),
    (2, "working", "DevNode2_ex2_7.wav"),  # listed, not on disk
    (3, "watching_tv", "DevNode3_ex3_10.wav"),  # of which the names sort before "_9"
    (3, "watching_tv", "DevNode3_ex3_11.wav"),
    (3, "watching_tv", "DevNode3_ex3_9.wav"),
    (4, "absence", "DevNode4_ex40_12.wav"),
]
EVALUATION_SET = [  # original name, released name, activity, session
    ("EvalNode3_ex7_5.wav", "1.wav", "eating", "s7"),
    ("EvalNode5_ex7_5.wav", "2.wav", "eating", "s7"),
    ("EvalNode5_ex7_6.wav", "3.wav", "eating", "s7"),
    ("EvalNode7_ex8_1.wav", "4.wav", "other", "s8"),
]


def write_node(path: Path, seconds: float, seed: int) -> None:
    """Four channels of faint noise at 16 kHz, as a node of the task records."""
    write_wav(path, np.random.default_rng(seed).normal(0, 0.01, (round(seconds * RATE_HZ), 4)))


@pytest.fixture(scope="session")
def write_development_set() -> Callable[..., Path]:
    """Write the lists of the development set, and the audio where seconds are given."""

    def write(root: Path, seconds: float | None = None) -> Path:
        write_development_lists(root, DEVELOPMENT_SET)
        for seed, (_, _, file) in enumerate(DEVELOPMENT_SET):
            if seconds is not None and file != "DevNode2_ex2_7.wav":
                write_node(root / "audio" / file, seconds, seed)
        return root

    return write


@pytest.fixture(scope="session")
def write_evaluation_set() -> Callable[..., Path]:
    """Write the lists of the evaluation set, and the audio where seconds are given."""

    def write(root: Path, seconds: float | None = None) -> Path:
        write_evaluation_lists(root, EVALUATION_SET)
        for seed, (_, new, _, _) in enumerate(EVALUATION_SET):
            if seconds is not None:
                write_node(root / "audio" / new, seconds, seed)
        return root

    return write
