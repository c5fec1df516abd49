"""The controller itself, with small programs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.jobs import JobRun, action_for, run_to_the_end, run_until
from tests.k8s.manifests import Manifest
from tests.k8s.node import Node, redirect

POLICY = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}},
    ]
}
SLEEP_THE_FIRST_TIME = (
    "import os, pathlib, sys, time; "
    "ran = pathlib.Path(os.environ['DATA'], 'ran' + os.environ['JOB_COMPLETION_INDEX']); "
    "again = ran.exists(); ran.touch(); again or time.sleep(60)"
)


def a_job(program: str, *, completions: int = 1, backoff_limit: int = 6) -> Manifest:
    """A Job whose Pods run Python code, with a claim at /data."""
    container = {
        "name": "main",
        "command": ["python", "-c"],
        "args": [program],
        "env": [{"name": "DATA", "value": "/data"}],
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
    }
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    pod = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return {
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": completions,
            "backoffLimit": backoff_limit,
            "podFailurePolicy": POLICY,
            "template": {"metadata": {"labels": {}}, "spec": pod},
        },
    }


@pytest.fixture
def node(tmp_path: Path) -> Node:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    return Node([claim], tmp_path / "node")


@pytest.fixture
def started(node: Node) -> Iterator:
    runs = []

    def start(*arguments: object, **options: object) -> JobRun:
        runs.append(JobRun(a_job(*arguments, **options), node))  # type: ignore[arg-type]
        runs[-1].start()
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


@pytest.mark.parametrize(
    ("exit_code", "disrupted", "expected"),
    [
        (143, True, "Ignore"),
        (2, True, "Ignore"),
        (2, False, "FailJob"),
        (143, False, "Count"),
        (137, False, "Count"),
        (1, False, "Count"),
    ],
)
def test_the_first_rule_that_fits_decides(exit_code: int, disrupted: bool, expected: str) -> None:
    assert action_for(POLICY, exit_code, disrupted=disrupted) == expected


def test_paths_and_hosts_are_redirected_once_and_whole() -> None:
    leads = {"/data": "/tmp/x", "/tmp": "/y", "chief": "127.0.0.2"}
    assert redirect("--a=/data/b", leads) == "--a=/tmp/x/b"
    assert redirect("/database /tmp", leads) == "/database /y"
    assert redirect("chief:80", leads) == "127.0.0.2:80"
    assert redirect("chief-1 tuning.chief", leads) == "chief-1 tuning.chief"


def test_a_killed_pod_is_replaced_and_counted_and_a_preempted_one_is_not(
    node: Node, started, tmp_path: Path
) -> None:
    job = started(SLEEP_THE_FIRST_TIME, completions=2, backoff_limit=1)
    for index in range(2):
        run_until((node.claim("data") / f"ran{index}").exists, job, timeout_s=20)
    job.pod(0).kill()
    job.pod(1).terminate(disrupted=True)
    run_to_the_end(job, timeout_s=20)
    assert job.ends_of(0) == [137, 0]
    assert job.ends_of(1) == [143, 0]


def test_failures_beyond_the_limit_fail_the_job(started) -> None:
    job = started("raise SystemExit(1)", backoff_limit=2)
    with pytest.raises(AssertionError, match="job-0-2: 1"):
        run_to_the_end(job, timeout_s=20)
    assert job.status == "failed"
    assert job.ends_of() == [1, 1, 1]


def test_exit_code_2_fails_the_job_at_once_and_ends_the_others(started) -> None:
    program = (
        "import os, time; os.environ['JOB_COMPLETION_INDEX'] == '0' and exit(2); time.sleep(60)"
    )
    job = started(program, completions=2)
    with pytest.raises(AssertionError, match="job-0-0: 2"):
        run_to_the_end(job, timeout_s=20)
    while len(job.ended) < 2:
        job.poll()
    assert (job.ends_of(0), job.ends_of(1)) == ([2], [143])


def test_a_pod_that_does_not_hear_sigterm_is_killed_after_its_grace_period(
    node: Node, started
) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP_THE_FIRST_TIME}"
    job = started(deaf)
    run_until((node.claim("data") / "ran0").exists, job, timeout_s=20)
    job.pod().terminate(disrupted=True)
    run_to_the_end(job, timeout_s=20)
    assert job.ends_of() == [137, 0]
