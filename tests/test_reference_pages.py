"""Pages that list names: docs/settings.md is generated, the others name whatever is registered."""

import pytest

from beam_features.datasets import DATASETS
from beam_features.download.catalogue import DATASETS as DOWNLOADS
from dem import __main__ as dem
from tests.processes import ROOT
from trainer.choices import (
    AUGMENTATIONS,
    ENCODER_KINDS,
    ENCODERS,
    HEADS,
    LOSSES,
    MININGS,
    SIMILARITIES,
)

STAGES = ("features", "train", "classify", "tune")
PAGES = {
    "encoders.md": ENCODERS,
    "evaluation.md": (*HEADS, *ENCODER_KINDS),
    "datasets.md": DATASETS,
    "download.md": DOWNLOADS,
    "settings.md": (*ENCODERS, *LOSSES, *MININGS, *SIMILARITIES, *AUGMENTATIONS),
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_settings_page_is_what_make_settings_writes(stage: str, capsys) -> None:
    with pytest.raises(SystemExit):
        dem.main([stage, "--help-settings", "markdown"])
    section = f"\n## `dem {stage}`\n\n{capsys.readouterr().out}"
    assert section in (ROOT / "docs" / "settings.md").read_text(), "run: make settings"


def test_every_setting_has_a_meaning() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "settings.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 50
    assert all(row.endswith(". |") and "|  |" not in row for row in rows)


@pytest.mark.parametrize("page", PAGES)
def test_every_registered_name_is_on_its_page(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    words = set("".join(c if c.isalnum() or c in "_-" else " " for c in text).split())
    assert [name for name in PAGES[page] if name not in words] == []
