"""``dem evaluate``: the file, the table and the rivals."""

import json

import pytest

from dem.__main__ import main


def test_the_table_and_the_file(index, tmp_path, capsys):
    words = ["--index", str(index), "--output", str(tmp_path), "--rival", f"again={index}"]
    assert main(["evaluate", *words]) == 0
    out = capsys.readouterr().out
    assert "precision@10" in out
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["index"] == result["again"]
    assert result["index"]["songs"] == 6
    by_label = result["index"]["groups"]["label"]["none"]
    # All six are candidates: of the others, 2 are of the query's label; all of them are among 10.
    assert by_label["all artists"]["precision"]["mean"] == pytest.approx(2 / 5)
    assert by_label["all artists"]["recall"]["mean"] == 1
    # Without its own artist, no jazz song finds another: all three are by Ada.
    assert by_label["other artists"]["queries"] == 3
    orders = result["index"]["orders"]
    assert orders["sort"]["mean"] <= orders["greedy"]["mean"] <= orders["random"]["mean"]


def test_bad_input(index, tmp_path, capsys):
    words = ["--index", str(index), "--output", str(tmp_path)]
    assert main(["evaluate", *words, "--groups", "mood"]) == 2
    assert "has no column 'mood'" in capsys.readouterr().err
    assert main(["evaluate", *words, "--rival", "x"]) == 2
    assert "--rival takes NAME=INDEX" in capsys.readouterr().err
