"""What a server refuses is found, and no rendering has any of it."""

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.k8s.admission import quantity, refusals, refused_changes
from tests.k8s.manifests import (
    JOBS,
    RENDERINGS,
    Manifest,
    Template,
    needs_kubectl,
    of_kind,
    rendered,
    rendered_run,
    templates,
)

pytestmark = needs_kubectl
LONGEST = "a" * 40
OF_TRAIN = (
    ("multi-host",),
    ("multi-host", "jobset"),
    ("a3-highgpu-8g", "flex-start", "gcsfuse", "multi-host", "jobset", "kueue"),
)


@pytest.mark.parametrize("name", [*RENDERINGS, "gke/iap"])
def test_no_rendering_has_what_a_server_refuses(name: str) -> None:
    for manifest in rendered(name):
        assert refusals(manifest) == []


@pytest.mark.parametrize("run", ["0", LONGEST])
@pytest.mark.parametrize("overlay", ["gke", "local"])
def test_every_stage_of_a_run_at_the_limits_of_names_is_admitted(overlay: str, run: str) -> None:
    for stage in (*JOBS, "tune"):
        for manifest in rendered_run("--overlay", overlay, run, stage):
            assert refusals(manifest) == []


@pytest.mark.parametrize("components", OF_TRAIN)
def test_hosts_of_the_longest_run_have_names(components: tuple[str, ...]) -> None:
    options = [word for one in components for word in ("--component", one)]
    manifests = rendered_run(*options, LONGEST, "train")
    assert [refusals(manifest) for manifest in manifests] == [[]] * len(manifests)
    for job in (*of_kind(manifests, "Job").values(), *of_kind(manifests, "JobSet").values()):
        wider = copy.deepcopy(job)
        spec = wider["spec"]
        if job["kind"] == "JobSet":
            spec = spec["replicatedJobs"][0]["template"]["spec"]
        spec["completions"] = 99
        assert refusals(wider) == []


def spoiled(job: Manifest) -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
    """Ways to spoil the training's Job, with what is said about each."""

    def container(spec: dict[str, Any]) -> dict[str, Any]:
        return dict.__getitem__(spec["template"]["spec"], "containers")[0]

    yield "backoffLimitPerIndex is not", lambda spec: spec.update(completionMode="NonIndexed")
    yield "maxFailedIndexes is not", lambda spec: spec.pop("backoffLimitPerIndex")
    yield (
        "podFailurePolicy is",
        lambda spec: spec["template"]["spec"].update(restartPolicy="Always"),
    )
    yield "must be Never", lambda spec: spec["template"]["spec"].pop("restartPolicy")
    yield "no name of a host", lambda spec: spec.update(completions=10**60)
    rules = job["spec"]["podFailurePolicy"]["rules"]
    yield "either", lambda spec: spec["podFailurePolicy"].update(rules=[rules[0] | rules[1]])
    for values in ([143, 3], [3, 3], [0]):
        codes = {"containerName": "main", "operator": "In", "values": values}
        rule = {"action": "Count", "onExitCodes": codes}
        yield "not in order", lambda spec, rule=rule: spec["podFailurePolicy"].update(rules=[rule])
    codes = {"containerName": "sidecar", "operator": "In", "values": [1]}
    wrong = {"action": "Count", "onExitCodes": codes}
    yield "container sidecar", lambda spec: spec["podFailurePolicy"].update(rules=[wrong])
    yield (
        "30Gi of memory",
        lambda spec: container(spec)["resources"]["requests"].update(memory="30Gi"),
    )
    more = {"nvidia.com/gpu": "2"}
    yield "equal to its limit", lambda spec: container(spec)["resources"]["requests"].update(more)
    yield "has no volume", lambda spec: spec["template"]["spec"]["volumes"].pop()
    yield "longer than 15", lambda spec: container(spec)["ports"][0].update(name="a-name-too-long-")
    yield "label run", lambda spec: spec["template"]["metadata"]["labels"].update(run=2026)
    yield "no subdomain", lambda spec: spec["template"]["spec"].update(subdomain="a" * 64)
    yield "hostIPC", lambda spec: spec["template"]["spec"].update(hostIPC=True)
    shared = {"name": "shm", "hostPath": {"path": "/dev/shm"}}
    yield "volume of hostPath", lambda spec: spec["template"]["spec"]["volumes"].append(shared)
    yield "root", lambda spec: container(spec)["securityContext"].update(runAsUser=0)
    yield "seccomp", lambda spec: spec["template"]["spec"]["securityContext"].pop("seccompProfile")
    yield (
        "privileges",
        lambda spec: container(spec)["securityContext"].pop("allowPrivilegeEscalation"),
    )
    add = {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    yield "capabilities", lambda spec: container(spec)["securityContext"].update(capabilities=add)
    yield "hostPort", lambda spec: container(spec)["ports"][0].update(hostPort=2222)
    helper = {"name": "prepare", "image": "trainer"}
    yield "restricted", lambda spec: spec["template"]["spec"].update(initContainers=[helper])


def test_what_a_server_refuses_is_found() -> None:
    train = of_kind(rendered("gke+multi-host"), "Job")["train"]
    for said, spoil in spoiled(train):
        job = copy.deepcopy(train)
        spoil(job["spec"])
        assert said in "\n".join(refusals(job)), said


def test_what_the_webhook_of_job_sets_refuses_is_found() -> None:
    (job_set,) = of_kind(rendered("gke/train+multi-host+jobset"), "JobSet").values()
    long = copy.deepcopy(job_set)
    long["metadata"]["name"] = f"train-{'a' * 42}"
    assert refusals(long) == [f"{long['metadata']['name']}-hosts-0-1-abcde is no name of a Pod"]
    unknown = copy.deepcopy(job_set)
    unknown["spec"]["failurePolicy"]["rules"][0]["onJobFailureReasons"] = ["OutOfMemory"]
    assert refusals(unknown) == ["no Job fails by {'OutOfMemory'}"]


def test_what_can_be_changed_of_a_job() -> None:
    train = of_kind(rendered("gke+multi-host"), "Job")["train"]
    for key, value in (("suspend", True), ("backoffLimit", 50), ("parallelism", 1)):
        assert refused_changes(train, train | {"spec": train["spec"] | {key: value}}) == []
    for key in ("completions", "backoffLimitPerIndex"):
        assert refused_changes(train, train | {"spec": train["spec"] | {key: 7}}) == [key]
    other = rendered_run("--component", "multi-host", "first", "train", "DATASET=dcase2018-task5")
    changed = of_kind(other, "Job")["train"]  # the ConfigMap has another name
    assert refused_changes(train, changed) == ["template"]


def test_amounts_are_compared_as_numbers() -> None:
    assert quantity("500m") == Decimal("0.5")
    assert quantity("1Gi") == 1024 * quantity("1Mi") > quantity("1G")
    with pytest.raises(AssertionError, match="'6 Gi' is not an amount"):
        quantity("6 Gi")


def volumes_of(pod: Template, *, memory: bool) -> Decimal:
    """Limits of the directories that a Pod may fill, in memory or on disk."""
    empty = [volume["emptyDir"] for volume in pod.spec["volumes"] if "emptyDir" in volume]
    amounts = [one["sizeLimit"] for one in empty if (one.get("medium") == "Memory") == memory]
    return sum(map(quantity, amounts), Decimal(0))


@pytest.mark.parametrize("name", RENDERINGS)
def test_directories_of_a_pod_fit_into_its_limits(name: str) -> None:
    """A Pod that exceeds its limit of storage is evicted, and one of memory is killed."""
    for pod in templates(rendered(name)):
        limits = pod.container["resources"]["limits"]
        if pod.name != "tensorboard":  # writes next to nothing
            assert volumes_of(pod, memory=False) < quantity(limits["ephemeral-storage"])
        assert volumes_of(pod, memory=True) <= quantity(limits["memory"]) / 2


@pytest.mark.parametrize("stage", [*JOBS, "tune"])
def test_the_example_of_a_queue_has_room_for_each_stage(stage: str) -> None:
    manifests = rendered_run("--component", "kueue", "first", stage)
    (queue,) = of_kind(manifests, "ClusterQueue").values()
    (group,) = queue["spec"]["resourceGroups"]
    quota = {
        one["name"]: quantity(str(one["nominalQuota"])) for one in group["flavors"][0]["resources"]
    }
    assert sorted(quota) == sorted(group["coveredResources"])
    asked = dict.fromkeys(quota, Decimal(0))
    for job in of_kind(manifests, "Job").values():
        resources = Template(job).container["resources"]
        for resource, amount in (resources["limits"] | resources["requests"]).items():
            asked[resource] += job["spec"].get("parallelism", 1) * quantity(amount)
    assert all(amount <= quota[resource] for resource, amount in asked.items()), asked
