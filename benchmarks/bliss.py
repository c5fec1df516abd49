"""Retrieval of an index beside that of bliss-audio's 20 features on the same files.

bliss-audio (MIT licence) is no dependency: install it first. Run: python -m benchmarks.bliss
INDEX label
"""

import argparse
from collections.abc import Sequence

import bliss_audio
import numpy as np
import numpy.typing as npt

from similarity.evaluate.retrieval import Estimate, Scores, retrieval
from similarity.evaluate.run import numbered, scores_of
from similarity.index.library import open_library


def main(arguments: Sequence[str] | None = None) -> None:
    """Print precision, recall and MAP of both, without the query's session."""
    parser = argparse.ArgumentParser(prog="benchmarks.bliss", description=__doc__)
    parser.add_argument("index", help="of files on this machine")
    parser.add_argument("group", help="column that says which songs belong together")
    parser.add_argument("-k", type=int, default=10)
    parsed = parser.parse_args(arguments)
    with open_library(parsed.index) as library:
        groups, sessions = (numbered(library.column(name)) for name in (parsed.group, "session"))
        features = np.array([bliss_audio.Song(uri).analysis for uri in library.column("uri")])
        for name, scores in (
            ("index", scores_of(library, "none")),
            ("bliss", distances_of(features)),
        ):
            rows = np.arange(len(library))
            found = retrieval(scores, groups, [sessions], rows, parsed.k)
            measures = (found.precision, found.recall, found.average_precision)
            print(name, found.queries, *map(described, measures))


def distances_of(features: npt.NDArray[np.floating]) -> Scores:
    """Compare songs by the Euclidean distance of their features, as bliss does."""
    return lambda row: -np.linalg.norm(features - features[row], axis=1)


def described(estimate: Estimate | None) -> str:
    """Mean and interval."""
    return f"{estimate.mean:.3f} ({estimate.low:.3f}-{estimate.high:.3f})" if estimate else "-"


if __name__ == "__main__":
    main()
