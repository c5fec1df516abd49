"""TF_CONFIG as users, Kubernetes and this project write it."""

import json

import pytest

from dem.errors import InputError
from trainer.train.tf_config import Cluster, read_cluster, tf_config_of_indexed_job

TWO_WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Cluster()),
        ({}, None),
        (
            {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}},
            Cluster(("a:1",), 0),
        ),
        (
            {"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 1}},
            Cluster(("a:1", "b:1"), 1),
        ),
        (
            {
                "cluster": {"worker": ["b:1"], "chief": ["a:1"]},
                "task": {"type": "chief", "index": "0"},
            },
            Cluster(("a:1", "b:1"), 0),
        ),
    ],
)
def test_tf_config_tells_how_many_and_which(
    monkeypatch: pytest.MonkeyPatch, value: dict | None, expected: Cluster | None
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(value))
    if expected is None:
        with pytest.raises(InputError, match="is not valid; set it to"):
            read_cluster()
    else:
        assert read_cluster() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nonsense", "TF_CONFIG='nonsense' is not valid"),
        ({"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 2}}, "is not valid"),
        ({"cluster": TWO_WORKERS}, "is not valid"),
        (
            {"cluster": TWO_WORKERS | {"ps": ["c:1"]}, "task": {"type": "worker", "index": 0}},
            "names worker, ps; training supports only chief and worker",
        ),
    ],
)
def test_a_wrong_tf_config_is_told(
    monkeypatch: pytest.MonkeyPatch, value: object, message: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(InputError, match=message):
        read_cluster()


POD = {
    "DEM_WORKERS": "2",
    "DEM_WORKER_ADDRESS": "train-{index}.train:2222",
    "JOB_COMPLETION_INDEX": "1",
}


def test_a_pod_of_an_indexed_job_knows_the_others_by_their_number() -> None:
    value = tf_config_of_indexed_job(POD)
    assert value is not None
    assert json.loads(value) == {
        "cluster": {"worker": ["train-0.train:2222", "train-1.train:2222"]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"JOB_COMPLETION_INDEX": "1"},  # Kubernetes sets it in every Indexed Job
        POD | {"TF_CONFIG": "{}"},
    ],
)
def test_without_addresses_or_with_tf_config_nothing_is_made_up(environment: dict) -> None:
    assert tf_config_of_indexed_job(environment) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"JOB_COMPLETION_INDEX": ""}, "JOB_COMPLETION_INDEX must be set, too"),
        ({"DEM_WORKERS": ""}, "DEM_WORKERS must be set, too"),
        ({"DEM_WORKER_ADDRESS": ""}, "DEM_WORKER_ADDRESS must be set, too"),
        ({"DEM_WORKERS": "two"}, "DEM_WORKERS='two' is not a number"),
        ({"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX=2, but DEM_WORKERS=2"),
        ({"DEM_WORKER_ADDRESS": "train:2222"}, "'train:2222' is the same for all"),
    ],
)
def test_a_wrong_pod_is_told(changed: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tf_config_of_indexed_job(POD | changed)
