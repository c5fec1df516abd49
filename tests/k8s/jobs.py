"""Jobs and JobSets as their controllers run them: Pods by index, and what becomes of each.

Follows the source of the Job controller of Kubernetes (syncJob, manageJob, matchPodFailurePolicy)
and of JobSet's failure policy, without the delays before new Pods.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.k8s.manifests import Manifest, Template, jobs_of
from tests.k8s.node import Node, Pod

_POLL_S = 0.2
Action = Literal["Ignore", "FailJob", "FailIndex", "Count"]
Status = Literal["suspended", "running", "complete", "failed"]


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
        self._waiting = list(range(self._spec.get("completions", 1)))
        self._running: dict[int, Pod] = {}
        self._leaving: list[Pod] = []  # of the suspended Job
        self._failures: Counter[int] = Counter()
        self._failed_indexes: set[int] = set()
        self._deadline = float("inf")
        self.counted = 0
        self.ended: list[Pod] = []
        self.reason = ""
        self.status: Status = "suspended"

    def start(self) -> None:
        """Apply the Job, or resume it, which also begins its time anew."""
        self.status = "running"
        self._deadline = time.monotonic() + self._spec.get("activeDeadlineSeconds", float("inf"))
        self._start_pods()

    def suspend(self) -> None:
        """End its Pods, which count as nothing; others are made when it goes on."""
        self.status = "suspended"
        for index, pod in self._running.items():
            pod.terminate(disrupted=False)
            self._waiting.append(index)
        self._leaving += self._running.values()
        self._running.clear()

    def pod(self, index: int = 0) -> Pod:
        """The Pod of this index that runs."""
        return self._running[index]

    def ends_of(self, index: int = 0) -> list[int | None]:
        """Exit codes of all Pods of this index, in order."""
        return [pod.exit_code for pod in self.ended if pod.index == index]

    def poll(self) -> None:
        """Replace what has failed, as the policy says."""
        self._bury()
        for index, pod in list(self._running.items()):
            pod.enforce_grace_period()
            if pod.exit_code is not None:
                self.ended.append(self._running.pop(index))
                if not self.reason:
                    self._pod_ended(pod, pod.exit_code)
        if self.status == "running":
            self._go_on()

    def stop(self) -> None:
        """End all Pods; none is left behind."""
        for pod in (*self._running.values(), *self._leaving):
            pod.run_out_of_memory()
            pod.process.wait()

    def told(self) -> str:
        """What the Pods have said on stderr, for the message of an assertion."""
        pods = [*self.ended, *self._running.values()]
        return "\n".join(f"== {pod.name}: {pod.exit_code}\n{pod.stderr}" for pod in pods)

    def _bury(self) -> None:
        """Pods that have not ended yet delay those that replace them."""
        for pod in list(self._leaving):
            pod.enforce_grace_period()
            if pod.exit_code is not None:
                self._leaving.remove(pod)
                self.ended.append(pod)

    def _go_on(self) -> None:
        if not self.reason and time.monotonic() > self._deadline:
            self._fail("DeadlineExceeded")
        if not self.reason:
            self._start_pods()
        if not self._running and not self._leaving:
            if self._failed_indexes and not self.reason:
                self.reason = "FailedIndexes"
            self.status = "failed" if self.reason else "complete"

    def _pod_ended(self, pod: Pod, exit_code: int) -> None:
        if exit_code == 0:
            return
        policy = self._spec.get("podFailurePolicy", {})
        action = action_for(policy, exit_code, disrupted=pod.disrupted)
        counts = action in ("Count", "FailIndex")
        self.counted += counts
        self._failures[pod.index] += counts
        per_index = self._spec.get("backoffLimitPerIndex", float("inf"))
        if action == "FailIndex" or self._failures[pod.index] > per_index:
            self._failed_indexes.add(pod.index)
        else:
            self._waiting.append(pod.index)
        if action == "FailJob":
            self._fail("PodFailurePolicy")
        elif self.counted > self._spec["backoffLimit"]:
            self._fail("BackoffLimitExceeded")
        elif len(self._failed_indexes) > self._spec.get("maxFailedIndexes", float("inf")):
            self._fail("MaxFailedIndexesExceeded")

    def _fail(self, reason: str) -> None:
        """Ask all Pods to end; the Job has failed when they have."""
        self.reason = reason
        for pod in self._running.values():
            pod.terminate(disrupted=False)

    def _start_pods(self) -> None:
        """The lowest indexes first, and no more than may run at a time."""
        self._waiting.sort()
        room = self._spec.get("parallelism", 1) - len(self._running) - len(self._leaving)
        for index in [self._waiting.pop(0) for _ in range(min(room, len(self._waiting)))]:
            self._running[index] = self._node.start(self._template, index)


class JobSetRun:
    """One JobSet of one Job: all Pods are made anew when the Job fails."""

    def __init__(self, job_set: Manifest, node: Node) -> None:
        (replicated,) = job_set["spec"]["replicatedJobs"]
        (job,) = jobs_of(job_set)
        name = f"{job_set['metadata']['name']}-{replicated['name']}-0"
        self._job = job | {"metadata": job["metadata"] | {"name": name}}
        self._policy, self._node = job_set["spec"]["failurePolicy"], node
        self._earlier: list[Pod] = []
        self.job = JobRun(self._job, node)
        self.restarts = 0

    @property
    def status(self) -> Status:
        return self.job.status

    @property
    def ended(self) -> list[Pod]:
        return [*self._earlier, *self.job.ended]

    def start(self) -> None:
        """Apply the JobSet, or resume it."""
        self.job.start()

    def suspend(self) -> None:
        """Suspend its Job."""
        self.job.suspend()

    def pod(self, index: int = 0) -> Pod:
        """The Pod of this index that runs."""
        return self.job.pod(index)

    def ends_of(self, index: int = 0) -> list[int | None]:
        """Exit codes of all Pods of this index, in order."""
        return [pod.exit_code for pod in self.ended if pod.index == index]

    def poll(self) -> None:
        """Make the Job anew when it has failed, unless a rule forbids it."""
        self.job.poll()
        if self.status == "failed" and not self._is_final():
            self.restarts += 1
            self._earlier += self.job.ended
            self.job = JobRun(self._job, self._node)
            self.job.start()

    def stop(self) -> None:
        """End all Pods; none is left behind."""
        self.job.stop()

    def told(self) -> str:
        """What the Pods have said on stderr, for the message of an assertion."""
        return self.job.told()

    def _is_final(self) -> bool:
        rules = self._policy["rules"]
        final = [one["onJobFailureReasons"] for one in rules if one["action"] == "FailJobSet"]
        forbidden = any(self.job.reason in reasons for reasons in final)
        return forbidden or self.restarts >= self._policy["maxRestarts"]


Run = JobRun | JobSetRun


def run_until(what: Callable[[], bool], *jobs: Run, timeout_s: float) -> None:
    """Let the Jobs go on until something holds; fail if one fails, or it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not what():
        for job in jobs:
            job.poll()
        said = "\n".join(job.told() for job in jobs)
        assert time.monotonic() < deadline, said
        assert "failed" not in [job.status for job in jobs], said
        time.sleep(_POLL_S)


def run_to_the_end(*jobs: Run, timeout_s: float = 300) -> None:
    """Let the Jobs go on until all are complete."""
    run_until(lambda: all(job.status == "complete" for job in jobs), *jobs, timeout_s=timeout_s)
