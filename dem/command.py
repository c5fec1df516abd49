"""What every command shares: settings from the shell, one-line errors, exit codes."""

import argparse
import atexit
import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from dem import log
from dem.errors import (
    ExitCode,
    InputError,
    JobError,
    LostPeerError,
    Terminated,
    described,
    did_you_mean,
)
from dem.registry import Registry

_LOG = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """Command line of one stage: ``--debug``, an example in ``--help``, errors of one line.

    Options are spelled with hyphens; underscores are accepted, too.

    Args:
        prog: how the user started the command.
        description: what it does.
        example: words after `prog` that show how it is used.
        note: what else ``--help`` says.
    """

    def __init__(self, prog: str, description: str, example: str, note: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example:\n  {prog} {example}" + (f"\n\n{note}" if note else ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._words: list[str] = []
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    @property
    def options(self) -> list[str]:
        """All options that it knows."""
        return list(self._option_string_actions)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, once the options are spelled with hyphens."""
        self._words = [self._hyphenate(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with one line; a misspelled option explains what argparse misses."""
        for word in self._words:
            option = word.partition("=")[0]
            if option.startswith("--") and option not in ("--", *self.options):
                hint = did_you_mean(option, self.options)
                if hint or message.startswith("unrecognized arguments"):
                    message = f"unknown option {option!r}{hint}"
                    break
        self.exit(refuse(f"{message} ({self.prog} --help lists all options)"))

    def _hyphenate(self, word: str) -> str:
        """Options of others stay as they are: those of Apache Beam have underscores."""
        option, equals, value = word.partition("=")
        spelled = option.replace("_", "-")
        known = option.startswith("--") and spelled in self._option_string_actions
        return f"{spelled}{equals}{value}" if known else word


class _HelpSettings(argparse.Action):
    """Print the settings and exit, as ``--help`` does."""

    def __init__(self, *, configs: Sequence[type], **keywords: Any) -> None:
        super().__init__(nargs="?", choices=("text", "markdown"), const="text", **keywords)
        self._configs = configs

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, form: Any, _option: Any = None
    ) -> None:
        from dem.reference import as_markdown, as_text, list_settings

        render = as_markdown if form == "markdown" else as_text
        print("\n".join(render(list_settings(config)) for config in self._configs), end="")
        parser.exit()


def name_in(registry: Registry) -> Callable[[str], str]:
    """Make the ``type=`` of an option that takes a name from a registry."""

    def check(name: str) -> str:
        try:
            return registry.check(name)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return check


def add_job_arguments(
    parser: argparse.ArgumentParser, job_dir: str = "directory for the results"
) -> None:
    """Add ``--data`` and ``--job-dir``; `job_dir`: what the second is for."""
    parser.add_argument("--data", metavar="FEATURES", required=True, help="features directory")
    parser.add_argument("--job-dir", metavar="JOB", required=True, help=job_dir)


def add_settings_arguments(parser: argparse.ArgumentParser, *configs: type) -> None:
    """Add ``--config``, ``--set`` and ``--help-settings``, for settings of these classes."""
    parser.add_argument("--config", metavar="FILE.yaml", help="settings, one 'key: value' per line")
    parser.add_argument(
        "--set",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="settings that override those of --config",
    )
    parser.add_argument(
        "--help-settings",
        action=_HelpSettings,
        configs=configs,
        metavar="FORMAT",
        help="list all settings with default, type and meaning, and exit; "
        "FORMAT: text (the default) or markdown",
    )


def run_command(run: Callable[[], None], *, debug: bool) -> int:
    """Set up the log, run a command and return its exit code; errors become one line on stderr."""
    atexit.register(gc.freeze)  # or Python's end looks at every object of its libraries: 0.5 s
    try:
        log.set_up()
        run()
    except InputError as error:
        return _report(error, str(error), ExitCode.BAD_INPUT, debug=debug)
    except JobError as error:
        code = ExitCode.LOST_PEER if isinstance(error, LostPeerError) else ExitCode.FAILED
        return _report(error, str(error), code, debug=debug)
    except Terminated as state:
        return _report(state, f"stopped: {state}", ExitCode.TERMINATED, debug=debug)
    except Exception as error:  # nothing above this handles errors
        message = f"{described(error)} (--debug shows where)"
        return _report(error, message, ExitCode.FAILED, debug=debug)
    return ExitCode.DONE


def refuse(message: str) -> int:
    """Log why a command line is refused, before there is a command; return the exit code."""
    with contextlib.suppress(InputError):  # of the log's format: one error is enough
        log.set_up()
    return _report(InputError(message), message, ExitCode.BAD_INPUT, debug=False)


def _report(error: BaseException, message: str, code: ExitCode, *, debug: bool) -> int:
    level = logging.INFO if code is ExitCode.TERMINATED else logging.ERROR
    message = message.replace("\n", "\\n")  # of a path
    _LOG.log(level, message, exc_info=error if debug else None, extra=log.last_line(code))
    return code
