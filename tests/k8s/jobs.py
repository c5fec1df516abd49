"""A Job as its controller runs it: Pods by index, and what becomes of those that fail."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.k8s.manifests import Manifest, Template
from tests.k8s.node import Node, Pod

_POLL_S = 0.2
Action = Literal["Ignore", "FailJob", "Count"]


def action_for(policy: Mapping[str, Any], exit_code: int, *, disrupted: bool) -> Action:
    """Find what the first rule that fits says; failures that none fits are counted."""
    for rule in policy.get("rules", []):
        conditions = [condition["type"] for condition in rule.get("onPodConditions", [])]
        codes = rule.get("onExitCodes")
        if disrupted and "DisruptionTarget" in conditions:
            return rule["action"]
        if codes and (exit_code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return "Count"


class JobRun:
    """One Job, from its start to success or failure."""

    def __init__(self, job: Manifest, node: Node) -> None:
        self._template, self._node, self._spec = Template(job), node, job["spec"]
        self._indexes = range(self._spec.get("completions", 1))
        assert self._spec.get("parallelism", 1) == len(self._indexes), "all Pods run at a time"
        self._running: dict[int, Pod] = {}
        self.counted = 0
        self.ended: list[Pod] = []
        self.status: Literal["suspended", "running", "complete", "failed"] = "suspended"

    def start(self) -> None:
        """Apply the Job, or resume it."""
        self.status = "running"
        for index in self._indexes:
            self._start_pod(index)

    def pod(self, index: int = 0) -> Pod:
        """The Pod of this index that runs."""
        return self._running[index]

    def ends_of(self, index: int = 0) -> list[int | None]:
        """Exit codes of all Pods of this index, in order."""
        return [pod.exit_code for pod in self.ended if pod.index == index]

    def poll(self) -> None:
        """Replace what has failed, as the policy says."""
        for index, pod in list(self._running.items()):
            pod.enforce_grace_period()
            if pod.exit_code is not None:
                self.ended.append(self._running.pop(index))
                if self.status == "running":
                    self._pod_ended(pod)
        if self.status == "running" and not self._running:
            self.status = "complete"

    def stop(self) -> None:
        """End all Pods; none is left behind."""
        for pod in self._running.values():
            pod.kill()
            pod.process.wait()

    def told(self) -> str:
        """What the Pods have said on stderr, for the message of an assertion."""
        pods = [*self.ended, *self._running.values()]
        return "\n".join(f"== {pod.name}: {pod.exit_code}\n{pod.stderr}" for pod in pods)

    def _pod_ended(self, pod: Pod) -> None:
        assert pod.exit_code is not None
        if pod.exit_code == 0:
            return
        policy = self._spec.get("podFailurePolicy", {})
        action = action_for(policy, pod.exit_code, disrupted=pod.disrupted)
        self.counted += action == "Count"
        if action == "FailJob" or self.counted > self._spec["backoffLimit"]:
            self.status = "failed"
            for other in self._running.values():
                other.terminate(disrupted=False)
        else:
            self._start_pod(pod.index)

    def _start_pod(self, index: int) -> None:
        attempt = sum(pod.index == index for pod in self.ended)
        self._running[index] = self._node.start(self._template, index, attempt)


def run_until(what: Callable[[], bool], *jobs: JobRun, timeout_s: float) -> None:
    """Let the Jobs go on until something holds; fail if one fails, or it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not what():
        for job in jobs:
            job.poll()
        said = "\n".join(job.told() for job in jobs)
        assert time.monotonic() < deadline, said
        assert "failed" not in [job.status for job in jobs], said
        time.sleep(_POLL_S)


def run_to_the_end(*jobs: JobRun, timeout_s: float = 300) -> None:
    """Let the Jobs go on until all are complete."""
    run_until(lambda: all(job.status == "complete" for job in jobs), *jobs, timeout_s=timeout_s)
