"""What an API server refuses beyond the schemas: limits of names, rules of Jobs, restricted Pods.

Written after the source of Kubernetes (pkg/apis/batch/validation), its documentation of Pods and of
the Pod Security Standards, and JobSet's webhook; only what our manifests use.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.k8s.manifests import Manifest, jobs_of

Fields = Mapping[str, Any]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # a name of DNS (RFC 1123)
SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035, before 1.34
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
SCALES = {"m": Decimal("0.001"), "": Decimal(1)} | {
    unit: Decimal(base) ** power
    for base, units in ((1000, ("k", "M", "G", "T")), (1024, ("Ki", "Mi", "Gi", "Ti")))
    for power, unit in enumerate(units, start=1)
}
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
# Of a Job that exists; a server accepts a new value of the other fields.
IMMUTABLE = (
    "completionMode",
    "completions",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "template",
)
REASONS = {
    *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes"),
    *("MaxFailedIndexesExceeded", "PodFailurePolicy"),
}


def quantity(text: str) -> Decimal:
    """Read an amount of a resource, such as 500m or 6Gi."""
    found = QUANTITY.fullmatch(text)
    assert found, f"{text!r} is not an amount"
    return Decimal(found[1]) * SCALES[found[2] or ""]


def refusals(manifest: Manifest) -> list[str]:
    """Say why a server would not create an object or the Pods that it describes."""
    return [*_of_object(manifest), *_of_kind(manifest)]


def refused_changes(old: Manifest, new: Manifest) -> list[str]:
    """Name the fields of a Job that cannot be changed, and would be."""
    return [key for key in IMMUTABLE if old["spec"].get(key) != new["spec"].get(key)]


def _of_object(manifest: Manifest) -> Iterator[str]:
    name = manifest["metadata"]["name"]
    pattern = SERVICE if manifest["kind"] == "Service" else LABEL
    if not pattern.fullmatch(name):
        yield f"{name!r} is no name of a {manifest['kind']}"
    yield from _labels(manifest["metadata"].get("labels", {}))


def _of_kind(manifest: Manifest) -> Iterator[str]:
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Job":
            yield from _job(manifest["metadata"]["name"], spec)
        case "JobSet":
            yield from _job_set(manifest)
        case "Deployment":
            yield from _pods(spec["template"])
        case "Service":
            yield from _labels(spec["selector"])


def _labels(labels: Fields) -> Iterator[str]:
    for key, value in labels.items():
        if not isinstance(value, str) or not VALUE.fullmatch(value):
            yield f"{value!r} is no value of the label {key}"


def _job(name: str, spec: Fields) -> Iterator[str]:
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and not LABEL.fullmatch(f"{name}-{spec['completions'] - 1}"):
        yield f"{name} and an index are no name of a host"
    for key, needed in (
        ("backoffLimitPerIndex", indexed),
        ("maxFailedIndexes", "backoffLimitPerIndex" in spec),
        ("podFailurePolicy", spec["template"]["spec"].get("restartPolicy") == "Never"),
    ):
        if key in spec and not needed:
            yield f"{key} is not possible here"
    if spec["template"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy must be Never or OnFailure"
    yield from _policy(spec)
    yield from _pods(spec["template"])


def _policy(spec: Fields) -> Iterator[str]:
    names = {one["name"] for one in spec["template"]["spec"]["containers"]}
    for rule in spec.get("podFailurePolicy", {}).get("rules", []):
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            yield "a rule needs either onExitCodes or onPodConditions"
        if rule["action"] == "FailIndex" and "backoffLimitPerIndex" not in spec:
            yield "FailIndex needs backoffLimitPerIndex"
        codes = rule.get("onExitCodes", {"containerName": "", "values": [1]})
        if codes.get("containerName") not in {None, "", *names}:
            yield f"there is no container {codes['containerName']}"
        if codes["values"] != sorted(set(codes["values"]) - {0}):
            yield f"exit codes {codes['values']} are not in order, or one is 0"


def _job_set(job_set: Manifest) -> Iterator[str]:
    rules = job_set["spec"]["failurePolicy"]["rules"]
    reasons = {reason for rule in rules for reason in rule["onJobFailureReasons"]}
    if not reasons <= REASONS:
        yield f"no Job fails by {reasons - REASONS}"
    for replicated, job in zip(job_set["spec"]["replicatedJobs"], jobs_of(job_set), strict=True):
        name = f"{job_set['metadata']['name']}-{replicated['name']}-{replicated['replicas'] - 1}"
        pod = f"{name}-{job['spec'].get('completions', 1) - 1}-abcde"
        if not SERVICE.fullmatch(pod):
            yield f"{pod} is no name of a Pod"
        yield from _labels(job["metadata"].get("labels", {}))
        yield from _job(name, job["spec"])


def _pods(template: Fields) -> Iterator[str]:
    spec = template["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    yield from _labels(template["metadata"].get("labels", {}))
    if "subdomain" in spec and not LABEL.fullmatch(spec["subdomain"]):
        yield f"{spec['subdomain']!r} is no subdomain"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in containers:
        mounts = container.get("volumeMounts", [])
        paths = [mount["mountPath"] for mount in mounts]
        if {mount["name"] for mount in mounts} - volumes or len(set(paths)) != len(paths):
            yield f"a mount of {container['name']} has no volume, or another's path"
        for port in container.get("ports", []):
            if len(port["name"]) > 15:
                yield f"the name of the port {port['name']} is longer than 15"
        yield from _resources(container.get("resources", {}))
        yield from _restricted_container(spec, container)
    yield from _restricted_pod(spec)


def _resources(resources: Fields) -> Iterator[str]:
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name, amount in requests.items():
        if name in limits and quantity(amount) > quantity(limits[name]):
            yield f"{amount} of {name} is more than its limit of {limits[name]}"
    for name, amount in limits.items():
        if "/" in name and requests.get(name, amount) != amount:
            yield f"{name} needs a request equal to its limit"


def _restricted_pod(spec: Fields) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"restricted: {key}"
    for volume in spec.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"restricted: a volume of {kind}"


def _restricted_container(spec: Fields, container: Fields) -> Iterator[str]:
    own = container.get("securityContext", {})
    context = spec.get("securityContext", {}) | own
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "restricted: it may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "restricted: no seccompProfile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "restricted: it may gain privileges"
    capabilities = own.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add", []):
        yield "restricted: capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "restricted: hostPort"
