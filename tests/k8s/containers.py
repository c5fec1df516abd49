"""What Kubernetes makes of a container's manifest before it starts it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from tests.k8s.manifests import Manifest

INDEX = "JOB_COMPLETION_INDEX"
INDEX_FIELD = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Put values in place of ``$(NAME)``; unknown names stay, and ``$$`` is a dollar sign."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^()]+)\)", value, text)


def environment(
    container: Mapping[str, Any],
    config_maps: Mapping[str, Manifest],
    fields: Mapping[str, str],
) -> dict[str, str]:
    """Build the container's variables in the order in which Kubernetes does.

    Args:
        container: its manifest.
        config_maps: by name.
        fields: of the Pod, by path, such as ``status.podIP``. In an Indexed Job, the controller
            adds a variable of the completion index after all others, unless there is one.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables |= config_maps[source["configMapRef"]["name"]]["data"]
    entries = list(container.get("env", []))
    if INDEX_FIELD in fields and INDEX not in [entry["name"] for entry in entries]:
        entries.append({"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": INDEX_FIELD}}})
    for entry in entries:
        variables[entry["name"]] = _value(entry, container, fields, variables)
    return variables


def command_line(container: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Expand the command and its arguments."""
    return [expand(word, variables) for word in [*container["command"], *container["args"]]]


def _value(
    entry: Mapping[str, Any],
    container: Mapping[str, Any],
    fields: Mapping[str, str],
    variables: Mapping[str, str],
) -> str:
    if "value" in entry:
        return expand(entry["value"], variables)
    ((kind, source),) = entry["valueFrom"].items()
    if kind == "fieldRef":
        return fields[source["fieldPath"]]
    if kind == "secretKeyRef":
        return f"{source['name']}/{source['key']}"  # in place of the secret
    assert kind == "resourceFieldRef", f"the harness knows no {kind}"
    assert source["resource"] == "requests.cpu"
    return str(_whole_cpus(container["resources"]["requests"]["cpu"]))


def _whole_cpus(quantity: str) -> int:
    thousandth = quantity.endswith("m")
    return math.ceil(int(quantity.removesuffix("m")) / (1000 if thousandth else 1))
