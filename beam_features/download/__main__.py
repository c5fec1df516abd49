"""Entry point of ``python -m beam_features.download``."""

import sys

from beam_features.download.cli import main

if __name__ == "__main__":
    sys.exit(main())
