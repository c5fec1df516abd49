"""The recipes of CONTRIBUTING.md: an encoder, a loss and a dataset outside of the project."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main as make_features
from tests.processes import ROOT
from trainer.train.__main__ import main as train

MODULES = ("my_nets", "my_losses", "my_data")


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's blocks of Python as modules in the working directory."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for name, block in zip(MODULES, blocks, strict=True):
        (tmp_path / f"{name}.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def test_own_encoder_loss_and_dataset_are_used(own_modules: None, tmp_path: Path) -> None:
    for number in range(12):
        samples = np.random.default_rng(number).normal(0, 0.1, 16_000 * 2)
        soundfile.write(tmp_path / f"{number}.wav", samples, 16_000)
    words = ["--dataset", "my_data:list_recordings", "--input", ".", "--output", "features"]
    assert make_features(words) == 0
    partitions = json.loads((tmp_path / "features/dataset_info.json").read_text())["partitions"]
    assert sum(partition["recordings"] for partition in partitions.values()) == 12
    small = ["batch_size=8", "epochs=1", "steps_per_epoch=2", "embedding_size=4"]
    names = ["encoder=my_nets:tiny", "loss=my_losses:build"]
    words = ["--data", "features", "--job-dir", "job", "--set", *names, *small]
    assert train(words) == 0
    assert json.loads((tmp_path / "job/metrics.json").read_text())["steps"] == 2
    assert (tmp_path / "job/export/encoder.keras").exists()
