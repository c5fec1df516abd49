"""What a run tells the person who watches it."""

import sys

from tqdm import tqdm


def say(line: str) -> None:
    """Print a log line at once, above the progress bar where there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
