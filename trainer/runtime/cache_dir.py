"""The local directory in which frames are kept, if any: a property of the host, not of a run.

It is in the environment, so that the processes of trials use it, too.
"""

import argparse
import os

from dem.access import is_remote
from dem.errors import InputError

CACHE_DIR = "DEM_CACHE_DIR"
"""Environment variable: what ``--cache-dir`` sets."""


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cache-dir``."""
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="local directory that keeps the frames of the training partitions, for data that do "
        f"not fit in memory and for later runs; default: ${CACHE_DIR}, or none: memory",
    )


def use_cache_dir(directory: str | None) -> None:
    """Use a directory from now on; None: the one of the environment, if any.

    Raises:
        InputError: it is not local.
    """
    if directory is not None:
        os.environ[CACHE_DIR] = directory
    if is_remote(os.environ.get(CACHE_DIR, "")):
        raise InputError(
            f"--cache-dir {os.environ[CACHE_DIR]} is not a local directory; give one on a disk of "
            "this host"
        )


def cache_dir() -> str | None:
    """The directory that is in use."""
    return os.environ.get(CACHE_DIR) or None
