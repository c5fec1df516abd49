"""Open a frame store in a directory, and print a digest of the frames.

Usage: python -m tests.trainer.store.open_store FEATURES CACHE
"""

import hashlib
import sys

from trainer.data.features import open_features
from trainer.data.shards import CorruptRecords
from trainer.store.frames import open_store


def main(features: str, cache_dir: str) -> None:
    store = open_store(open_features(features), ["train"], CorruptRecords(0), cache_dir)
    print(hashlib.sha256(store.frames.tobytes()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
