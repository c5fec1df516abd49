"""Beam's options: what is passed on, what is refused, and what a failure says."""

import grpc
import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_features.job.options import beam_options, cause_of
from dem.errors import InputError

DATAFLOW = ("--runner=DataflowRunner", "--project=my-project", "--region=europe-west1")
TEMP = "--temp_location=gs://bucket/tmp"


@pytest.mark.parametrize(
    ("words", "runner", "workers", "mode"),
    [
        ([], "FnApiRunner", 1, "in_memory"),
        (["--runner=DirectRunner"], "FnApiRunner", 1, "in_memory"),
        (["--runner", "direct"], "FnApiRunner", 1, "in_memory"),
        (["--direct_num_workers=2"], "FnApiRunner", 2, "multi_processing"),
        (["--direct_num_workers=0"], "FnApiRunner", 0, "multi_processing"),  # 0: all cores
        (
            ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
            "FnApiRunner",
            2,
            "multi_threading",
        ),
        ([*DATAFLOW, TEMP], "DataflowRunner", 1, "in_memory"),
    ],
)
def test_beam_options(words, runner, workers, mode):
    options = beam_options(words)
    direct = options.view_as(DirectOptions)
    assert options.view_as(StandardOptions).runner == runner
    assert (direct.direct_num_workers, direct.direct_running_mode) == (workers, mode)


def test_options_pass_through(tmp_path, monkeypatch):
    """A relative setup file becomes absolute: Beam changes the directory before it looks for it."""
    monkeypatch.chdir(tmp_path)
    for name in ("setup.py", "requirements.txt"):
        (tmp_path / name).touch()
    files = ["--setup_file=setup.py", "--requirements_file=requirements.txt"]
    options = beam_options(
        [*DATAFLOW, TEMP, *files, "--sdk_container_image=image:1", "--max_num_workers=5"]
    )
    assert options.view_as(SetupOptions).setup_file == str(tmp_path / "setup.py")
    assert options.view_as(SetupOptions).requirements_file == "requirements.txt"
    assert options.view_as(WorkerOptions).sdk_container_image == "image:1"
    assert options.view_as(WorkerOptions).max_num_workers == 5


def test_options_of_clusters_pass_through():
    environment = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
    flink = beam_options(
        ["--runner=FlinkRunner", "--flink_master=host:8081", "--parallelism=8", *environment]
    )
    assert flink.view_as(FlinkRunnerOptions).flink_master == "host:8081"
    assert flink.view_as(FlinkRunnerOptions).parallelism == 8
    spark = beam_options(["--runner=SparkRunner", "--spark_master_url=spark://host", *environment])
    assert spark.view_as(SparkRunnerOptions).spark_master_url == "spark://host"
    portable = beam_options(
        ["--runner=PortableRunner", "--job_endpoint=host:8099", "--environment_type=DOCKER"]
    )
    for options, kind in ((flink, "EXTERNAL"), (spark, "EXTERNAL"), (portable, "DOCKER")):
        assert options.view_as(PortableOptions).environment_type == kind


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runner=FlinkRuner"], "unknown runner 'FlinkRuner'; choose one of: DataflowRunner, "),
        (["--runner=DaskRunner"], "or a class by its full name"),
        (["--runner=no.such.Runner"], "unknown runner 'no.such.Runner' (No module named 'no')"),
        (["--runner=PortableRunner"], "it needs --job_endpoint=HOST:PORT"),
        (["--environment_type=EXTERNAL"], "--runner=FnApiRunner: it ignores --environment_type"),
        (
            ["--runner=FlinkRunner", "--environment_type=DOKCER"],
            "unknown --environment_type 'DOKCER'; choose one of: DOCKER, PROCESS, EXTERNAL",
        ),
        (
            ["--runner=FlinkRunner", "--environment_type=EXTERNAL"],
            "Option external_service_address is required for environment type EXTERNAL",
        ),
        (
            ["--runner=FlinkRunner", "--environment_type=PROCESS"],
            "Option process_command is required for environment type PROCESS",
        ),
        (["--runner=DataflowRunner", DATAFLOW[2], TEMP], "it needs --project"),
        ([*DATAFLOW], "it needs --temp_location=gs://BUCKET/DIRECTORY"),
        ([*DATAFLOW, "--temp_location=/tmp"], "--temp_location must be a gs:// URI, not '/tmp'"),
        ([*DATAFLOW[:2], TEMP], "Missing required option: region."),
        (["--runner=DataflowRunner", DATAFLOW[2], TEMP, "--project=My"], "Invalid Project ID (My)"),
        ([*DATAFLOW, TEMP, "--num_workers=0"], "Invalid value (0) for option: num_workers"),
        (["--setup_file=no/setup.py"], "--setup_file 'no/setup.py' does not exist"),
        (["--requirements_file=no.txt"], "--requirements_file 'no.txt' does not exist"),
        (["--no_wait_until_finish"], "--no_wait_until_finish is not supported: the command waits"),
        ([*DATAFLOW, TEMP, "--template_location=gs://bucket/t"], "--template_location is not supp"),
        (["--direct_num_workers=-1"], "--direct_num_workers must be 0 (all cores) or more"),
        (["--direct_num_workers=two"], "argument --direct_num_workers: invalid int value: 'two'"),
        (["--direct_running_mode=fast"], "invalid choice: 'fast' (choose from 'in_memory', "),
        (["--flink_mster=x"], "unknown option '--flink_mster=x'"),
    ],
)
def test_bad_options_are_refused(monkeypatch, words, message):
    monkeypatch.delenv("CLOUDSDK_COMPUTE_REGION", raising=False)
    monkeypatch.setenv("PATH", "")  # gcloud, which may know a region
    with pytest.raises(InputError) as refusal:
        beam_options(words)
    assert message in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_region_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLOUDSDK_COMPUTE_REGION", "europe-west4")
    beam_options([*DATAFLOW[:2], TEMP])


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("disk full [while running 'WriteShard']"), "OSError: disk full [while running"),
        (RuntimeError('Traceback\n  File "x"\nOSError: disk full\n\n'), "OSError: disk full"),
        (RuntimeError(), "RuntimeError: no message"),
        (grpc.FutureTimeoutError(), "no job server answers at host:1"),
    ],
)
def test_failures_are_one_line(error, cause):
    options = beam_options(["--runner=PortableRunner", "--job_endpoint=host:1"])
    assert cause_of(error, options).startswith(cause)
