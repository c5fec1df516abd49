"""Settings: YAML file, then key=value words; every refusal is one line."""

from pathlib import Path

import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from dem.errors import InputError
from dem.settings import build_settings, describe_differences, load_settings


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Toy:
    lr: float = 0.1
    depth: int = 2
    names: tuple[str, ...] = ()
    limit: float | None = None


@pytest.fixture
def load(tmp_path):
    """Load a `Toy` from the text of a file (None: no file) and words."""

    def load(text, *overrides):
        config = tmp_path / "toy.yaml"
        if text is not None:
            config.write_text(text)
        path = None if text is None else str(config)
        return load_settings(Toy, path, overrides, lambda name: Path(name).read_text())

    return load


def test_defaults_without_file_and_words(load):
    assert load(None) == Toy(0.1, 2, (), None)


def test_words_win_over_the_file_and_the_file_over_defaults(load):
    assert load("depth: 3\nlr: 0.5\n", "lr=0.7") == Toy(lr=0.7, depth=3)


def test_the_last_of_equal_words_wins(load):
    assert load(None, "depth=3", "depth=4") == Toy(depth=4)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=1e-3", Toy(lr=0.001)),  # YAML 1.1 reads a string here
        ("limit=8e3", Toy(limit=8000.0)),
        ("limit=null", Toy(limit=None)),
        ("lr=1", Toy(lr=1.0)),
        ("names=[fold1,fold2]", Toy(names=("fold1", "fold2"))),
        ("names=['a=b']", Toy(names=("a=b",))),
    ],
)
def test_values_of_words(load, word, expected):
    assert load(None, word) == expected


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (
            None,
            ["rl=1"],
            "unknown key 'rl'; choose one of: depth, limit, lr, names",
        ),
        (
            "rl: 1",
            [],
            "unknown key 'rl'; choose one of: depth, limit, lr, names",
        ),
        (
            None,
            ["dept=1"],
            "unknown key 'dept'; choose one of: depth, limit, lr, names; did you mean 'depth'?",
        ),
        (
            None,
            ["depth=deep"],
            "depth: Input should be a valid integer, unable to parse string as an integer, "
            "not 'deep'",
        ),
        (None, ["lr"], "--set takes key=value, not 'lr'"),
        (None, ["=1"], "--set takes key=value, not '=1'"),
        (None, ["names=[a"], "--set names: '[a' is not a YAML value"),
    ],
)
def test_refusals_name_key_and_value(load, text, words, message):
    with pytest.raises(InputError) as refusal:
        load(text, *words)
    assert str(refusal.value) == message


def test_every_fault_is_named(load):
    with pytest.raises(InputError) as refusal:
        load(None, "depth=x", "rl=1")
    assert "depth: Input should be a valid integer" in str(refusal.value)
    assert "unknown key 'rl'" in str(refusal.value)


@pytest.mark.parametrize(("text", "shown"), [("- 1\n- 2\n", "[1, 2]"), ("", "None"), ("7", "7")])
def test_file_that_is_no_mapping_is_refused(load, tmp_path, text, shown):
    with pytest.raises(InputError) as refusal:
        load(text)
    path = str(tmp_path / "toy.yaml")
    assert str(refusal.value) == f"config {path!r} must contain 'key: value' lines, not {shown}"


def test_file_that_is_no_yaml_is_refused_in_one_line(load):
    with pytest.raises(InputError, match="is not valid YAML: ") as refusal:
        load("a: [1\nb: 2\n")
    assert "\n" not in str(refusal.value)


def test_missing_file_is_refused():
    with pytest.raises(InputError) as refusal:
        load_settings(Toy, "no/such.yaml", [], lambda name: Path(name).read_text())
    assert str(refusal.value) == "config 'no/such.yaml' does not exist; check --config"


def test_build_settings_accepts_a_mapping():
    assert build_settings(Toy, {"names": ["a"], "depth": 5}) == Toy(names=("a",), depth=5)


@pytest.mark.parametrize(
    ("stored", "requested", "expected"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": [1, 2]}, "a": 1}, ""),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b: stored 2, requested 3"),
        (
            {"spec": {"hop": 1, "mels": 64}},
            {"spec": {"hop": 2, "mels": 64}},
            "hop: stored 1, requested 2",
        ),
        (
            {"files": [f"{n}.wav" for n in range(401)]},
            {"files": [f"{n}.wav" for n in range(1, 402)]},
            "files: only stored ['0.wav'], only requested ['401.wav']",
        ),
        (
            {"files": list(range(401))},
            {"files": list(range(10, 401))},
            "files: only stored [0, 1, 2, 3, 4, … 10 in all], only requested []",
        ),
        (
            {"files": list(range(6))},
            {"files": [5, 4, 3, 2, 1, 0]},
            "files: the same 6 values in another order",
        ),
        ({"a": 1}, {"a": "b" * 400}, f"a: stored 1, requested {'b' * 300}…"),
        ({"a": 1}, {"b": 2}, "a: stored 1, requested None; b: stored None, requested 2"),
    ],
)
def test_describe_differences(stored, requested, expected):
    assert describe_differences(stored, requested) == expected
