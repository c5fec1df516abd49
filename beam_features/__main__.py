"""``python -m beam_features``."""

import sys

from beam_features.cli import main
from beam_features.termination import end_on_signals

if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
