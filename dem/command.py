"""What every command shares: settings from the shell, one-line errors, exit codes."""

import argparse
import logging
from collections.abc import Callable

from dem import log
from dem.errors import ExitCode, InputError, JobError, Terminated

_LOG = logging.getLogger(__name__)


def add_job_arguments(
    parser: argparse.ArgumentParser, job_dir: str = "directory for the results"
) -> None:
    """Add ``--data`` and ``--job-dir``; `job_dir`: what the second is for."""
    parser.add_argument("--data", metavar="FEATURES", required=True, help="features directory")
    parser.add_argument("--job-dir", metavar="JOB", required=True, help=job_dir)


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, ``--set`` and ``--debug``, spelled alike in every command."""
    parser.add_argument("--config", metavar="FILE.yaml", help="settings, one key per line")
    parser.add_argument(
        "--set",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="settings that win over --config",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run_command(run: Callable[[], None], *, debug: bool) -> int:
    """Set up the log, run a command and return its exit code; errors become one line on stderr."""
    try:
        log.set_up()
        run()
    except InputError as error:
        return _report(error, str(error), ExitCode.BAD_INPUT, debug=debug)
    except JobError as error:
        return _report(error, str(error), ExitCode.FAILED, debug=debug)
    except Terminated as state:
        return _report(state, f"stopped: {state}", ExitCode.TERMINATED, debug=debug)
    except Exception as error:  # the rim of the process: the code and the line are all that is left
        first_line = (str(error).strip() or "no message").splitlines()[0]
        message = f"{type(error).__name__}: {first_line} (--debug shows where)"
        return _report(error, message, ExitCode.FAILED, debug=debug)
    return ExitCode.DONE


def _report(error: BaseException, message: str, code: ExitCode, *, debug: bool) -> int:
    level = logging.INFO if code is ExitCode.TERMINATED else logging.ERROR
    _LOG.log(level, message, exc_info=error if debug else None, extra=log.last_line(code))
    return code
