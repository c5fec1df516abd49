"""Who may reach whom, as a network plugin understands the NetworkPolicies."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.k8s.manifests import Manifest

Labels = Mapping[str, str]


def may_reach(policies: Iterable[Manifest], source: Labels, target: Labels, port: int) -> bool:
    """Whether TCP from Pods of some labels gets to a port of others, all in one namespace.

    Pods that no policy of ingress selects are open to all; the others to what one of these allows.
    """
    about = [
        policy["spec"]
        for policy in policies
        if "Ingress" in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], target)
    ]
    rules = [rule for spec in about for rule in spec.get("ingress", [])]
    return not about or any(_allows(rule, source, port) for rule in rules)


def _allows(rule: Mapping[str, Any], source: Labels, port: int) -> bool:
    ports = rule.get("ports")
    if ports and not any(
        each.get("protocol", "TCP") == "TCP" and each.get("port") in (None, port) for each in ports
    ):
        return False
    peers = rule.get("from")
    return not peers or any(_is_peer(peer, source) for peer in peers)


def _is_peer(peer: Mapping[str, Any], source: Labels) -> bool:
    assert set(peer) == {"podSelector"}, f"not understood here: {peer}"
    return _selects(peer["podSelector"], source)


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    assert set(selector) <= {"matchLabels"}, f"not understood here: {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()
