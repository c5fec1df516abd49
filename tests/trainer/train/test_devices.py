"""Which devices a run gets, and what is refused before the hosts connect."""

import json

import pytest
import tensorflow as tf

from dem.errors import InputError
from trainer.train.devices import device_names, make_strategy


def test_batch_size_must_be_a_multiple_of_the_replicas() -> None:
    with pytest.raises(InputError, match="batch_size=9 is not divisible by 2 replicas"):
        make_strategy(2, batch_size=9)


def test_too_many_replicas_are_refused() -> None:
    tf.constant(0)  # TensorFlow has started, so its devices stay as they are
    with pytest.raises(InputError, match="replicas=8, but found 2 CPU devices; lower"):
        make_strategy(8, batch_size=16)


def test_devices_have_short_names() -> None:
    assert device_names(make_strategy(None, batch_size=3)) == ["CPU:0"]


@pytest.mark.parametrize(
    ("replicas", "batch_size", "message"),
    [
        (None, 9, "batch_size=9 is not divisible by 2 replicas"),
        (4, 16, "replicas=4, but 2 workers have 2 devices; omit replicas"),
    ],
)
def test_what_does_not_fit_the_workers_is_refused_before_they_connect(
    monkeypatch: pytest.MonkeyPatch, replicas: int | None, batch_size: int, message: str
) -> None:
    config = {
        "cluster": {"worker": ["a:1", "b:1"]},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(InputError, match=message):
        make_strategy(replicas, batch_size)
