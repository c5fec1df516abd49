import itertools

import pytest

from tests.k8s.manifests import WHOLE, Manifest, needs_kubectl, of_kind, rendered, templates
from tests.k8s.network import may_reach

PORTS = (1, 2222, 6006, 8000)
TO_CHIEF = ("tune-workers", "tune-chief", 8000)
AMONG_HOSTS = {("train", "train", port) for port in PORTS}


@needs_kubectl
@pytest.mark.parametrize("name", WHOLE)
def test_workers_reach_their_chief_and_nobody_else_reaches_anybody(name: str) -> None:
    manifests = rendered(name)
    policies = of_kind(manifests, "NetworkPolicy").values()
    pods = {template.name: template.labels for template in templates(manifests)}
    pods["stranger"] = {"app": "other"}
    reached = {
        (source, target, port)
        for source, target, port in itertools.product(pods, set(pods) - {"stranger"}, PORTS)
        if may_reach(policies, pods[source], pods[target], port)
    }
    assert reached == {TO_CHIEF} | (AMONG_HOSTS if "multi-host" in name else set())


def policy(target: dict, *rules: dict) -> Manifest:
    spec = {"podSelector": target, "policyTypes": ["Ingress"], "ingress": list(rules)}
    return {"spec": spec}


A, B = {"app": "a"}, {"app": "b"}
FROM_A = {"podSelector": {"matchLabels": A}}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], True),
        ([policy({})], False),
        ([policy({"matchLabels": A})], True),
        ([policy({}), policy({"matchLabels": B}, {"from": [FROM_A]})], True),
        ([policy({}, {"from": [FROM_A], "ports": [{"port": 80}]})], True),
        ([policy({}, {"from": [FROM_A], "ports": [{"port": 81}]})], False),
        ([policy({}, {"from": [{"podSelector": {"matchLabels": B}}]})], False),
    ],
)
def test_policies_add_up(policies: list[Manifest], expected: bool) -> None:
    assert may_reach(policies, A, B, 80) is expected
