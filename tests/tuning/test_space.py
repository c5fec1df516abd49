"""The search space: domains, conditions, and how they are declared to keras-tuner."""

from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from dem.errors import InputError
from dem.settings import build_settings, load_settings
from dem.storage import read_text
from tests.processes import ROOT
from trainer.config import TrainConfig
from tuning.config import TuneConfig
from tuning.space import Choices, Range, as_cell, hyperparameters, read_space

CONFIGS = ROOT / "configs"
ALL_FIXED = {
    "encoder": "conv2d",
    "encoder_width": 1.0,
    "encoder_depth": None,
    "embedding_size": 64,
    "loss": "triplet",
    "mining": "all",
    "margin": 0.2,
    "temperature": 0.1,
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "neighbourhood_s": 5.0,
    "augment": [],
}


def only(**given: Any) -> dict[str, Any]:
    return ALL_FIXED | given


def sampled(space, count: int) -> list[dict[str, Any]]:
    """What random search tries."""
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("x", "max"),
        max_trials=count,
        hyperparameters=hyperparameters(space),
        seed=1,
    )
    values = [oracle.populate_space(str(index))["values"] for index in range(count)]
    return [space.settings(one) for one in values]


def test_the_default_space_covers_what_the_issue_of_tuning_is() -> None:
    searched = set(read_space({}).searched)
    assert {"margin", "embedding_size", "encoder", "mining", "loss"} <= searched
    assert {"learning_rate", "weight_decay", "neighbourhood_s", "augment"} <= searched


def test_every_sample_of_the_default_space_is_a_valid_setting() -> None:
    """Keys are present exactly when their conditions hold."""
    seen = {"loss": set(), "encoder": set()}
    for settings in sampled(read_space({}), 60):
        config = build_settings(TrainConfig, settings)
        assert ("margin" in settings) == ("mining" in settings) == (config.loss == "triplet")
        assert ("temperature" in settings) == (config.loss == "infonce")
        assert ("encoder_depth" in settings) == (config.encoder in ("conv1d", "conv2d"))
        assert 0.0001 <= config.learning_rate <= 0.01
        for key, values in seen.items():
            values.add(settings[key])
    assert seen["loss"] == {"triplet", "infonce"}
    assert len(seen["encoder"]) == 5


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("tune*.yaml")), ids=lambda path: path.stem)
def test_the_searches_under_configs_are_valid(path: Path) -> None:
    config = load_settings(TuneConfig, str(path), [], read_text)
    for settings in sampled(read_space(config.space), 20):
        build_settings(TrainConfig, settings)


def test_a_value_fixes_a_key_and_a_mapping_replaces_its_domain() -> None:
    space = read_space(
        only(margin={"low": 0.1, "high": 0.4}, encoder={"choices": ["gru", "dense"]})
    )
    assert set(space.searched) == {"margin", "encoder"}
    assert space.searched["margin"] == Range(0.1, 0.4)
    assert space.fixed == {key: ALL_FIXED[key] for key in ALL_FIXED if key not in space.searched}


def test_a_narrowed_domain_keeps_its_condition() -> None:
    space = read_space({"margin": {"low": 0.1, "high": 0.4}})
    assert space.conditions("margin") == {"loss": ("triplet",)}
    free = read_space({"margin": {"low": 0.1, "high": 0.4, "when": {}}})
    assert free.conditions("margin") == {}


def test_conditions_on_fixed_keys_are_decided_at_once() -> None:
    triplet, infonce = (read_space({"loss": loss}) for loss in ("triplet", "infonce"))
    assert triplet.conditions("margin") == {}
    assert "temperature" not in triplet.searched
    assert "margin" not in infonce.searched
    assert "mining" not in infonce.searched
    assert infonce.conditions("temperature") == {}


def test_conditions_hold_through_those_of_their_keys() -> None:
    """The reducer matters with random mining, which matters with triplets."""
    space = read_space(
        {"reducer": {"choices": ["mean", "active_mean"], "when": {"mining": ["random"]}}}
    )
    assert space.conditions("reducer") == {"loss": ("triplet",), "mining": ("random",)}
    for settings in sampled(space, 60):
        allowed = settings["loss"] == "triplet" and settings["mining"] == "random"
        assert ("reducer" in settings) == allowed


def test_conditions_on_the_same_key_must_all_hold() -> None:
    """Conditions from other keys are intersected; if nothing is left, the key is not searched."""
    space = read_space(
        {
            "encoder": {"choices": ["conv1d", "conv2d", "gru"]},
            "projection_hidden": {"choices": [None, 8], "when": {"encoder_width": [0.5]}},
            "encoder_width": {"choices": [0.5, 1.0], "when": {"encoder": ["conv1d", "conv2d"]}},
            "reducer": {
                "choices": ["mean", "active_mean"],
                "when": {"encoder": ["conv1d"], "encoder_width": [0.5]},
            },
            "positives": {
                "choices": [["time"], ["sensor"]],
                "when": {"encoder": ["gru"], "encoder_width": [0.5]},
            },
        }
    )
    assert space.conditions("projection_hidden")["encoder"] == ("conv1d", "conv2d")
    assert space.conditions("reducer")["encoder"] == ("conv1d",)
    assert "positives" not in space.searched  # there is no GRU with a width


def test_choices_may_be_lists_and_null() -> None:
    augment = [[], ["gain"], ["gain", "noise"]]
    space = read_space(
        only(augment={"choices": augment}, embedding_size={"choices": [None, 8, 16]})
    )
    settings = sampled(space, 80)  # of nine that there are
    assert {(tuple(one["augment"]), one["embedding_size"]) for one in settings} == {
        (tuple(names), size) for names in augment for size in (None, 8, 16)
    }


def test_ranges_of_integers_give_integers_and_decimals_are_short() -> None:
    space = read_space(
        only(batch_size={"low": 8, "high": 11}, margin={"low": 0.05, "high": 1.0, "scale": "log"})
    )
    settings = sampled(space, 40)
    assert {one["batch_size"] for one in settings} == {8, 9, 10, 11}
    margins = [one["margin"] for one in settings]
    assert all(0.05 <= margin <= 1 and len(str(margin)) <= 7 for margin in margins)
    below = sum(margin < 0.05**0.5 for margin in margins)  # the middle on a log scale
    assert 12 <= below <= 28


def test_examples_show_each_end_and_choice_where_it_matters() -> None:
    space = read_space(
        only(
            loss={"choices": ["infonce", "triplet"]},
            margin={"low": 0.1, "high": 0.4, "when": {"loss": ["triplet"]}},
        )
    )
    examples = [
        (key, value, one["loss"], one.get("margin")) for key, value, one in space.examples()
    ]
    assert examples == [
        ("loss", "infonce", "infonce", None),
        ("loss", "triplet", "triplet", 0.1),
        ("margin", 0.1, "triplet", 0.1),
        ("margin", 0.4, "triplet", 0.4),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"margins": 0.2}, "space: unknown key 'margins'; choose from: augment, batch_size"),
        ({"margin": {"low": 1.0, "high": 0.1}}, r"space.margin: low=1.0 is not below high=0.1"),
        ({"margin": {"low": 0, "high": 1, "scale": "log"}}, "low=0 has no logarithm"),
        ({"margin": {"low": 0.1}}, "space.margin: high"),
        ({"margin": {"from": 0.1, "high": 1}}, "space.margin: .*unknown key 'from'"),
        ({"encoder": {"choices": []}}, "space.encoder: choices"),
        ({"encoder": {"choices": ["gru", "gru"]}}, 'choice "gru" is listed twice'),
        ({"seed": {"choices": [1, 2]}}, "space.seed cannot be searched"),
        ({"validation_partitions": {"choices": [["a"], ["b"]]}}, "cannot be searched"),
        ({"margin": {"low": 0.1, "high": 1, "when": {"los": ["triplet"]}}}, "unknown key 'los'"),
        (
            {"margin": {"low": 0.1, "high": 1, "when": {"learning_rate": [0.1]}}},
            "space.margin: its condition learning_rate is a range",
        ),
        (
            {
                "loss": {"choices": ["triplet", "infonce"], "when": {"encoder": ["conv2d"]}},
                "encoder": {"choices": ["conv2d", "gru"], "when": {"loss": ["triplet"]}},
            },
            "space: the conditions of .*encoder.* depend on each other",
        ),
    ],
)
def test_refusals_name_the_key(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_space(given)


def test_choices_that_are_the_same_for_python_are_not_for_yaml() -> None:
    assert Choices((1, 1.5, True)).extremes == (1, 1.5, True)


def test_cells_read_as_in_yaml() -> None:
    assert [as_cell(value) for value in (None, ["gain", "mix"], [], 3, "gru")] == [
        "null",
        "[gain, mix]",
        "[]",
        3,
        "gru",
    ]
