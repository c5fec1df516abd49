"""Exit codes and the error that means: retrying the same command cannot help."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a finished process tells its caller; 143 is 128 + SIGTERM, as shells count."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    TERMINATED = 143


class InputError(ValueError):
    """Bad arguments, configuration or data that do not fit: names the value and the remedy."""


class JobError(RuntimeError):
    """The job ran and failed; the message names what and the remedy."""


class DivergedError(JobError):
    """The training went astray with its settings: others might do better, a retry would not."""


class Terminated(Exception):  # noqa: N818 - a state, not a fault
    """The process was asked to stop by SIGTERM and has saved its state."""
