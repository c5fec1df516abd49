"""Approximate search: recall against exact search, also after many changes."""

import json

import numpy as np
import pytest

from dem.__main__ import main
from similarity.index.graph import keys_of, near_rows, update_graph
from tests.similarity.libraries import MadeUp, direction, write_vectors
from trainer.metrics.neighbours import unit_rows


def songs(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, 32))
    return unit_rows(centres[random.integers(0, 20, n)] + random.normal(size=(n, 32)))


def recall(path: str, unit: np.ndarray, keys: np.ndarray) -> float:
    hits = 0
    for row in range(100):
        exact = np.argsort(-(unit @ unit[row]), kind="stable")[:10]
        found = near_rows(path, unit[row], 200, keys)
        assert len(set(found.tolist())) == 200
        best = found[np.argsort(-(unit[found] @ unit[row]), kind="stable")][:10]
        hits += len(set(exact.tolist()) & set(best.tolist()))
    return hits / 1000


def test_recall_before_and_after_a_fifth_was_replaced(tmp_path):
    names = [f"song {n}" for n in range(2000)]
    unit, keys = songs(2000, 0), keys_of(names)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    update_graph(old, unit, keys, keys[:0], np.ones(2000, bool), None)
    assert recall(old, unit, keys) >= 0.98
    names[:400] = [f"new {n}" for n in range(400)]
    stale, unit[:400] = keys[:400], songs(400, 1)
    keys = keys_of(names)
    update_graph(new, unit, keys, stale, np.arange(2000) < 400, old)
    assert recall(new, unit, keys) >= 0.98


@pytest.fixture
def index(tmp_path):
    made = [MadeUp(f"{n}.wav", direction(n / 100)) for n in range(300)]
    vectors = write_vectors(tmp_path / "v", made)
    words = [str(vectors), "--output", str(tmp_path / "i")]
    assert main(["index", *words]) == 0
    return words


def test_the_command_gives_what_exact_search_gives(index, capsysbinary):
    query = ["similar", "150.wav", "--index", index[2], "-k", "5", "--format", "json"]
    assert main([*query, "--approximate"]) == 2
    assert b"has no graph; build it with dem index --approximate" in capsysbinary.readouterr().err
    assert main(["index", *index, "--approximate"]) == 0
    capsysbinary.readouterr()
    for more in ([], ["--where", "recording!=151.wav"], ["--where", "recording=299.wav"]):
        assert main([*query, *more]) == 0
        exact = json.loads(capsysbinary.readouterr().out)
        assert main([*query, *more, "--approximate"]) == 0
        assert json.loads(capsysbinary.readouterr().out) == exact


def test_an_update_brings_the_graph_along(index, tmp_path, capsysbinary):
    assert main(["index", *index, "--approximate"]) == 0
    made = [MadeUp(f"{n}.wav", direction(n / 100)) for n in range(20, 320)]
    write_vectors(tmp_path / "v", made)
    assert main(["index", *index, "--approximate", "--prune"]) == 0
    assert len(list((tmp_path / "i").glob("graph-*.usearch"))) == 1
    capsysbinary.readouterr()
    query = ["similar", "310.wav", "--index", index[2], "-k", "4", "--format", "json"]
    assert main([*query, "--approximate", "--hubs", "none"]) == 0
    found = json.loads(capsysbinary.readouterr().out)["results"]
    assert {song["recording"] for song in found} == {"308.wav", "309.wav", "311.wav", "312.wav"}
