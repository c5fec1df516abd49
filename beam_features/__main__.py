"""``python -m beam_features``."""

import sys

from beam_features.cli import main

if __name__ == "__main__":
    sys.exit(main())
