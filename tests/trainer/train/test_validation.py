"""What `recall_at_1` can be measured on."""

import json
from pathlib import Path

import pytest

from tests.trainer.jobs import train_words
from tests.trainer.synthetic import write_features
from trainer.train.__main__ import main

TINY = ("encoder=dense", "encoder_width=0.05", "encoder_depth=1", "epochs=1", "steps_per_epoch=1")


@pytest.mark.parametrize(
    ("songs", "said"),
    [
        (1, "validation holds one context, such as a song: recall_at_1 needs two"),
        (2, "validation holds 2 contexts, such as songs: of so few, recall_at_1 is high even by"),
        (6, None),
    ],
)
def test_of_few_songs_recall_says_little(
    tmp_path: Path, songs: int, said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one it would always be 1."""
    data, job = tmp_path / "features", tmp_path / "job"
    write_features(data, {"train": 6, "validation": songs})
    assert main(train_words(data, job, *TINY)) == 0
    log = capsys.readouterr().err
    assert ("such as" in log) == (said is not None)
    assert said is None or said in log
    recall = json.loads((job / "metrics.json").read_text())["recall_at_1"]
    assert (recall is None) == (songs == 1)
    assert ("  recall_at_1 " in log) == (songs > 1)
