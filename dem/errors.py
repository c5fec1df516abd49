"""Exit codes, the errors behind them, and what an error says about an unknown name."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code of a process; 143 is 128 + SIGTERM, as in shells."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    LOST_PEER = 3
    TERMINATED = 143


class InputError(ValueError):
    """Bad arguments, settings or data: a retry cannot help. Names the value and the remedy."""


class JobError(RuntimeError):
    """The job ran and failed; the message names what and the remedy."""


class LostPeerError(JobError):
    """Another host of the same job is gone: nothing is wrong here, and all must start again."""


class DivergedError(JobError):
    """The training diverged: other settings may help, a retry does not."""


class Terminated(Exception):  # noqa: N818 - a state, not a fault
    """The process received SIGTERM and has saved its state."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def described(error: BaseException) -> str:
    """Say in one line what kind of error it is, and its message."""
    return f"{type(error).__name__}: {first_line(error) if str(error).strip() else 'no message'}"


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Say that `name` is none of the choices, and which of them is spelled most like it."""
    names = list(choices)
    return f"unknown {kind} {name!r}; choose one of: {', '.join(names)}{did_you_mean(name, names)}"


def did_you_mean(name: str, choices: Iterable[str], likeness: float = 0.6) -> str:
    """``; did you mean 'x'?`` with the choice that is spelled most like `name`, or nothing.

    `likeness` is that of `difflib`, 1 for equal.
    """
    import difflib  # imported here, since ``dem --help`` does not need it

    closest = difflib.get_close_matches(name, list(choices), n=1, cutoff=likeness)
    return f"; did you mean {closest[0]!r}?" if closest else ""
