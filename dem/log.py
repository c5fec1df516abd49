"""The log on stderr: plain lines for people, or a JSON object per line for a cluster.

Every module logs by ``logging.getLogger(__name__)``; results that are data go to stdout instead.
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime

from tqdm import tqdm

from dem.errors import ExitCode, InputError

FORMAT = "DEM_LOG"
"""Environment variable: ``plain`` (the default) or ``json``."""

_OURS = ("beam_features", "dem", "trainer", "tuning")
_STDERR = 2


def set_up() -> None:
    """Log to stderr: our packages from INFO on, all others from WARNING on.

    Raises:
        InputError: the environment names an unknown format; lines are plain then.
    """
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(handler)
    root.addHandler(_Handler())
    for package in _OURS:
        logging.getLogger(package).setLevel(logging.INFO)
    logging.captureWarnings(_format() == "json")
    if _format() not in _FORMATTERS:
        raise InputError(
            f"{FORMAT}={_format()!r} is unknown; choose one of: {', '.join(_FORMATTERS)}"
        )


def write_last_line(message: str, code: ExitCode) -> None:
    """Log the last line of a process from a signal handler, which must not use buffered streams."""
    record = logging.makeLogRecord(
        {"name": __name__, "levelno": logging.INFO, "levelname": "INFO", "msg": message}
        | last_line(code)
    )
    os.write(_STDERR, f"{_formatter().format(record)}\n".encode())


def last_line(code: ExitCode) -> dict[str, int]:
    """What marks a record, given as `extra`, as the line that a command ends with."""
    return {"exit_code": int(code)}


class _Handler(logging.Handler):
    """Write to what is stderr at the moment, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(_formatter().format(record), file=sys.stderr)
            sys.stderr.flush()
        except Exception:  # a line that cannot be written must not end the job
            self.handleError(record)


class _Plain(logging.Formatter):
    """``HH:MM:SS message``, with the level where it is not INFO.

    The last line of a command has no time: it begins with ``error:`` or ``stopped:``.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = "" if hasattr(record, "exit_code") else f"{_time(record):%H:%M:%S} "
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{_traceback(record)}{time}{level}{record.getMessage()}"


class _Json(logging.Formatter):
    """The fields that Google Cloud Logging reads, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "severity": record.levelname,
            "message": record.getMessage().strip(),
            "time": _time(record).astimezone(UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
        }
        if hasattr(record, "exit_code"):
            fields["exit_code"] = record.exit_code
        if record.exc_info:
            fields["stack_trace"] = _traceback(record)
        return json.dumps(fields)


_FORMATTERS = {"plain": _Plain(), "json": _Json()}


def _format() -> str:
    return os.environ.get(FORMAT) or "plain"


def _formatter() -> logging.Formatter:
    return _FORMATTERS.get(_format(), _FORMATTERS["plain"])


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created).astimezone()


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
