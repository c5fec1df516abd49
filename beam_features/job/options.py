"""Beam's options: checked before anything is written; and the cause of a failure in one line."""

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import NoReturn

import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import PipelineRunner, create_runner

from dem.errors import InputError, described, did_you_mean

_LOCAL = "FnApiRunner"
_ENVIRONMENTS = ("DOCKER", "PROCESS", "EXTERNAL", "LOOPBACK")
_RETURN_EARLY = (  # with these, Beam returns before the shards are written
    "dry_run",
    "no_wait_until_finish",
    "output_executable_path",
    "template_location",
)


def beam_options(arguments: Sequence[str], own: Sequence[str] = ()) -> PipelineOptions:
    """Beam's options, with a local runner that needs no download.

    `DirectRunner` lets Beam choose, and Beam first tries to download the binary of another runner.
    Instead of it, and by default, this uses `FnApiRunner`, its portable fallback. More than one
    local worker means processes, because decoding holds Python's lock for part of its time.

    Args:
        arguments: all words that are none of our options.
        own: our options, which an unknown one may be a misspelling of.

    Raises:
        InputError: an option is unknown to Beam, or its value cannot work.
    """
    name = _runner_name(arguments)
    runner = _load_runner(name)  # first: a runner may bring options of its own
    _refuse_unknown(arguments, own)
    options = PipelineOptions(list(arguments))
    options.view_as(StandardOptions).runner = name
    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    for error in _errors(options, runner):
        raise InputError(f"--runner={name}: {error}")
    _make_setup_file_absolute(options)
    return options


def use_one_process(options: PipelineOptions) -> None:
    """Let a local runner work in this process: for a few recordings no other is worth its start."""
    if options.view_as(StandardOptions).runner == _LOCAL:
        direct = options.view_as(DirectOptions)
        direct.direct_num_workers, direct.direct_running_mode = 1, "in_memory"


def uses_processes(options: PipelineOptions) -> bool:
    """Whether workers are processes on this machine."""
    runner: str = options.view_as(StandardOptions).runner
    mode: str = options.view_as(DirectOptions).direct_running_mode
    return runner == _LOCAL and mode == "multi_processing"


def check_reachable(options: PipelineOptions, *uris: str) -> None:
    """Refuse local files with Dataflow, whose workers cannot read them."""
    if _is_dataflow(options):
        for uri in uris:
            if ":" not in uri:
                raise InputError(
                    f"the workers of {options.view_as(StandardOptions).runner} cannot reach the "
                    f"local {uri!r}; give a gs:// URI"
                )


def cause_of(error: Exception, options: PipelineOptions) -> str:
    """Return the cause of a failed pipeline as one line.

    A worker's traceback arrives as the text of the launcher's exception; its last line is the
    cause.
    """
    if isinstance(error, grpc.FutureTimeoutError):
        return f"no job server answers at {options.view_as(PortableOptions).job_endpoint}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1:
        return lines[-1].strip()
    return described(error)


class _Parser(argparse.ArgumentParser):
    """Raise an InputError; argparse would first print the usage of all of Beam's options."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"an option of Apache Beam: {message}")


def _runner_name(arguments: Sequence[str]) -> str:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    name = parser.parse_known_args(list(arguments))[0].runner or "DirectRunner"
    return _LOCAL if name.lower() in ("direct", "directrunner") else name


def _load_runner(name: str) -> PipelineRunner:
    try:
        return create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        known = ", ".join(StandardOptions.KNOWN_RUNNER_NAMES)
        why = f" ({error})" if "." in name else ""
        raise InputError(
            f"unknown runner {name!r}{why}; choose one of: {known}, or a class by its full name"
            f"{did_you_mean(name, StandardOptions.KNOWN_RUNNER_NAMES)}"
        ) from error


def _refuse_unknown(arguments: Sequence[str], own: Sequence[str]) -> None:
    """Refuse options that Beam would ignore with only a log line."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001 - Beam's documented hook
    unknown = parser.parse_known_args(list(arguments))[1]
    if unknown:
        known = (*own, *parser._option_string_actions)  # noqa: SLF001 - argparse has no other list
        hint = did_you_mean(unknown[0].partition("=")[0], known)
        raise InputError(
            f"unknown option {unknown[0]!r}; see --help and Apache Beam's options{hint}"
        )


def _errors(options: PipelineOptions, runner: PipelineRunner) -> Iterator[str]:
    yield from _early_returns(options)
    yield from _missing_files(options)
    yield from _environment_errors(options, runner)
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        yield f"--direct_num_workers must be 0 (all cores) or more, not {workers}"
    if _is_dataflow(options):
        yield from _missing_for_dataflow(options)
    validator = PipelineOptionsValidator(options, runner)
    for part in validator.OPTIONS:
        if part is GoogleCloudOptions and _is_dataflow(options):  # its own check uses the network
            yield from validator.validate_cloud_options(options.view_as(part))
        elif "validate" in vars(part):
            yield from options.view_as(part).validate(validator)


def _early_returns(options: PipelineOptions) -> Iterator[str]:
    values = options.get_all_options()
    for name in _RETURN_EARLY:
        if values[name]:
            yield f"--{name} is not supported: the command waits for the shards and sums them up"


def _missing_files(options: PipelineOptions) -> Iterator[str]:
    setup = options.view_as(SetupOptions)
    for name in ("setup_file", "requirements_file"):
        path = getattr(setup, name)
        if path is not None and not os.path.isfile(path):
            yield f"--{name} {path!r} does not exist"


def _environment_errors(options: PipelineOptions, runner: PipelineRunner) -> Iterator[str]:
    portable = options.view_as(PortableOptions)
    kind, name = portable.environment_type, type(runner).__name__
    if name == "PortableRunner" and not portable.job_endpoint:
        yield "it needs --job_endpoint=HOST:PORT, the address of a job server"
    if kind and name == _LOCAL:
        yield (
            "it ignores --environment_type; use PortableRunner with --job_endpoint, or the runner "
            "of a cluster"
        )
    if kind and kind not in _ENVIRONMENTS and not kind.startswith("beam:env:"):
        yield f"unknown --environment_type {kind!r}; choose one of: {', '.join(_ENVIRONMENTS)}"


def _missing_for_dataflow(options: PipelineOptions) -> Iterator[str]:
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.project:
        yield "it needs --project"
    if not (cloud.temp_location or cloud.staging_location):
        yield "it needs --temp_location=gs://BUCKET/DIRECTORY"
    for name in ("temp_location", "staging_location"):
        uri = getattr(cloud, name)
        if uri and not uri.startswith("gs://"):
            yield f"--{name} must be a gs:// URI, not {uri!r}"


def _is_dataflow(options: PipelineOptions) -> bool:
    name = options.view_as(StandardOptions).runner
    return name.rsplit(".", 1)[-1].lower() in ("dataflow", "dataflowrunner", "testdataflowrunner")


def _make_setup_file_absolute(options: PipelineOptions) -> None:
    """Make the path absolute: Beam changes to its directory and looks for it from there."""
    setup = options.view_as(SetupOptions)
    if setup.setup_file is not None:
        setup.setup_file = os.path.abspath(setup.setup_file)
