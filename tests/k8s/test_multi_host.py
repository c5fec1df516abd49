"""The Pods of a training on two hosts, as processes: one is lost, and both come back."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import consecutive_ports
from tests.k8s.jobs import JobRun, run_to_the_end, run_until
from tests.k8s.manifests import Manifest, needs_kubectl, of_kind, rendered
from tests.k8s.node import Node
from tests.trainer.synthetic import write_features

pytestmark = [needs_kubectl, pytest.mark.slow]
NAME = "local+multi-host"


def with_ports_of_this_machine(job: Manifest) -> Manifest:
    """Hosts of a cluster have one port each; processes of one machine must not share it."""
    job = copy.deepcopy(job)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (address,) = [one for one in container["env"] if one["name"] == "DEM_WORKER_ADDRESS"]
    address["value"] = f"127.0.0.1:{consecutive_ports(2)}{{index}}"
    return job


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(rendered(NAME), tmp_path)
    write_features(node.claim("data") / "features", {"train": 24, "validation": 9, "test": 12})
    return node


@pytest.fixture
def train(node: Node) -> Iterator[JobRun]:
    run = JobRun(with_ports_of_this_machine(of_kind(rendered(NAME), "Job")["train"]), node)
    run.start()
    yield run
    run.stop()


def test_a_killed_host_counts_once_and_its_peer_not_at_all(node: Node, train: JobRun) -> None:
    job = node.claim("data") / "runs/first/job"
    run_until((job / "checkpoints/ckpt-1.npz").exists, train, timeout_s=300)
    train.pod(1).run_out_of_memory()
    run_to_the_end(train)
    assert (train.ends_of(0), train.ends_of(1)) == ([3, 0], [137, 0])
    assert train.counted == 1
    assert json.loads((job / "metrics.json").read_text())["hosts"] == 2
