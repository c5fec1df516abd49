import pytest

from tests.k8s.containers import INDEX, INDEX_FIELD, command_line, environment, expand


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/x-$(B)", "1/x-2"),
        ("$(C) $A", "$(C) $A"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$()", "$()"),
    ],
)
def test_variables_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_a_variable_sees_only_those_above_it() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "map"}}],
        "env": [
            {"name": "EARLY", "value": "$(ROOT)-$(LATE)"},
            {"name": "LATE", "value": "late"},
            {"name": "ROOT", "value": "own"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "command": ["run"],
        "args": ["$(ROOT)", "$(LATE)"],
    }
    maps = {"map": {"data": {"ROOT": "/map"}}}
    variables = environment(container, maps, {"status.podIP": "127.0.0.9"})
    expected = {"EARLY": "/map-$(LATE)", "LATE": "late", "ROOT": "own", "IP": "127.0.0.9"}
    assert variables == expected
    assert command_line(container, variables) == ["run", "own", "late"]


def test_the_completion_index_comes_last_unless_it_is_asked_for() -> None:
    name = {"name": "NAME", "value": f"worker-$({INDEX})"}
    asked = {"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": INDEX_FIELD}}}
    fields = {INDEX_FIELD: "3"}
    assert environment({"env": [name]}, {}, fields)["NAME"] == f"worker-$({INDEX})"
    assert environment({"env": [asked, name]}, {}, fields)["NAME"] == "worker-3"
    assert environment({"env": [name]}, {}, fields)[INDEX] == "3"


@pytest.mark.parametrize(("quantity", "expected"), [("2", "2"), ("1500m", "2"), ("250m", "1")])
def test_requests_are_given_in_whole_cpus(quantity: str, expected: str) -> None:
    source = {"resourceFieldRef": {"containerName": "main", "resource": "requests.cpu"}}
    container = {
        "env": [{"name": "CPUS", "valueFrom": source}],
        "resources": {"requests": {"cpu": quantity}},
    }
    assert environment(container, {}, {}) == {"CPUS": expected}
