"""The controller itself, with small programs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.jobs import JobRun, JobSetRun, action_for, run_to_the_end, run_until
from tests.k8s.manifests import Manifest
from tests.k8s.node import Node, Pod, redirect

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


def a_job(
    program: str, *, completions: int = 1, backoff_limit: int = 6, **more: object
) -> Manifest:
    """A Job whose Pods run Python code, with a claim at /data; more fields of its specification."""
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
        }
        | more,
    }


def a_job_set(program: str, *, max_restarts: int = 3) -> Manifest:
    """A JobSet of a Job with two such Pods, which one failure ends."""
    job = a_job(program, completions=2, backoff_limit=0)
    rule = {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    policy = {"maxRestarts": max_restarts, "rules": [rule]}
    replicated = {"name": "hosts", "replicas": 1, "template": {"spec": job["spec"]}}
    return {
        "kind": "JobSet",
        "metadata": {"name": "set"},
        "spec": {"failurePolicy": policy, "replicatedJobs": [replicated]},
    }


@pytest.fixture
def node(tmp_path: Path) -> Node:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    return Node([claim], tmp_path / "node")


@pytest.fixture
def started(node: Node) -> Iterator:
    runs = []

    def start(program: str, **options: object) -> JobRun:
        runs.append(JobRun(a_job(program, **options), node))  # type: ignore[arg-type]
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
    job.pod(0).run_out_of_memory()
    job.pod(1).preempt()
    run_to_the_end(job, timeout_s=20)
    assert job.ends_of(0) == [137, 0]
    assert job.ends_of(1) == [143, 0]
    assert job.counted == 1


def test_a_pod_whose_node_is_lost_is_not_counted(node: Node, started) -> None:
    job = started(SLEEP_THE_FIRST_TIME, backoff_limit=0)
    run_until((node.claim("data") / "ran0").exists, job, timeout_s=20)
    job.pod().lose()
    run_to_the_end(job, timeout_s=20)
    assert job.ends_of() == [137, 0]
    assert job.counted == 0


@pytest.mark.parametrize("end", [Pod.run_out_of_memory, None])
def test_a_container_ends_with_all_of_its_processes(node: Node, started, end) -> None:
    program = (
        "import os, pathlib, subprocess, time; "
        "child = subprocess.Popen(['sleep', '60']); "
        "data = pathlib.Path(os.environ['DATA']); "
        "(data / 'new').write_text(str(child.pid)); (data / 'new').rename(data / 'child'); "
    )
    job = started(program + ("time.sleep(60)" if end else "exit(1)"), backoff_limit=0)
    told = node.claim("data") / "child"
    run_until(told.exists, job, timeout_s=20)
    if end:
        end(job.pod())
    fails(job)
    deadline = time.monotonic() + 10
    while is_alive(int(told.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended may wait for its parent to ask for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def fails(job: JobRun | JobSetRun) -> None:
    """Let a Job go on until it has failed."""
    with pytest.raises(AssertionError, match="== "):
        run_to_the_end(job, timeout_s=20)
    assert job.status == "failed"


def test_no_more_pods_run_than_may_at_a_time(node: Node, started) -> None:
    job = started(SLEEP_THE_FIRST_TIME, completions=3, parallelism=2)
    ran = [node.claim("data") / f"ran{index}" for index in range(3)]
    run_until(lambda: ran[0].exists() and ran[1].exists(), job, timeout_s=20)
    assert not ran[2].exists()
    job.pod(1).preempt()
    run_until(lambda: job.ends_of(1) == [143, 0], job, timeout_s=20)
    run_until(ran[2].exists, job, timeout_s=20)
    for index in (0, 2):
        job.pod(index).preempt()
    run_to_the_end(job, timeout_s=20)
    assert [job.ends_of(index) for index in range(3)] == [[143, 0]] * 3


FAILS_AT_INDEX_1 = "import os; exit(os.environ['JOB_COMPLETION_INDEX'] == '1')"


def test_one_index_may_fail_too_often_for_the_job(started) -> None:
    job = started(FAILS_AT_INDEX_1, completions=2, backoffLimitPerIndex=1, maxFailedIndexes=0)
    fails(job)
    assert job.reason == "MaxFailedIndexesExceeded"
    assert job.ends_of(1) == [1, 1]


def test_an_index_may_fail_while_the_others_end(started) -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}
    policy = {"rules": [rule]}
    job = started(
        FAILS_AT_INDEX_1,
        completions=3,
        backoffLimitPerIndex=5,
        parallelism=1,
        podFailurePolicy=policy,
    )
    fails(job)
    assert job.reason == "FailedIndexes"
    assert [job.ends_of(index) for index in range(3)] == [[0], [1], [0]]


def test_a_suspended_job_ends_its_pods_without_counting_them(node: Node, started) -> None:
    job = started(SLEEP_THE_FIRST_TIME, backoff_limit=0)
    run_until((node.claim("data") / "ran0").exists, job, timeout_s=20)
    job.suspend()
    run_until(lambda: job.ends_of() == [143], job, timeout_s=20)
    assert job.status == "suspended"
    job.start()
    run_to_the_end(job, timeout_s=20)
    assert (job.ends_of(), job.counted) == ([143, 0], 0)


def test_a_job_that_takes_too_long_fails(started) -> None:
    job = started("import time; time.sleep(60)", activeDeadlineSeconds=1)
    fails(job)
    assert (job.reason, job.ends_of()) == ("DeadlineExceeded", [143])


def test_a_job_set_makes_all_pods_anew(node: Node) -> None:
    job_set = JobSetRun(a_job_set(SLEEP_THE_FIRST_TIME), node)
    job_set.start()
    ran = [node.claim("data") / f"ran{index}" for index in range(2)]
    run_until(lambda: all(one.exists() for one in ran), job_set, timeout_s=20)
    job_set.pod(1).run_out_of_memory()
    run_to_the_end(job_set, timeout_s=20)
    assert (job_set.ends_of(0), job_set.ends_of(1)) == ([143, 0], [137, 0])
    assert job_set.restarts == 1


@pytest.mark.parametrize(("code", "ends"), [(2, 1), (1, 3)])
def test_a_job_set_fails_at_bad_input_or_after_its_last_restart(
    node: Node, code: int, ends: int
) -> None:
    program = f"import os; exit({code} if os.environ['JOB_COMPLETION_INDEX'] == '1' else 0)"
    job_set = JobSetRun(a_job_set(program, max_restarts=2), node)
    job_set.start()
    fails(job_set)
    assert job_set.ends_of(1) == [code] * ends


def test_failures_beyond_the_limit_fail_the_job(started) -> None:
    job = started("raise SystemExit(1)", backoff_limit=2)
    fails(job)
    assert (job.reason, job.ends_of()) == ("BackoffLimitExceeded", [1, 1, 1])


def test_exit_code_2_fails_the_job_at_once_and_ends_the_others(started) -> None:
    program = (
        "import os, time; os.environ['JOB_COMPLETION_INDEX'] == '0' and exit(2); time.sleep(60)"
    )
    job = started(program, completions=2)
    fails(job)
    assert job.reason == "PodFailurePolicy"
    assert (job.ends_of(0), job.ends_of(1)) == ([2], [143])


def test_a_pod_that_does_not_hear_sigterm_is_killed_after_its_grace_period(
    node: Node, started
) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP_THE_FIRST_TIME}"
    job = started(deaf)
    run_until((node.claim("data") / "ran0").exists, job, timeout_s=20)
    job.pod().preempt()
    run_to_the_end(job, timeout_s=20)
    assert job.ends_of() == [137, 0]
