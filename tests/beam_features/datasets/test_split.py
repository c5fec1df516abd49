import hashlib

import pytest

from beam_features.datasets.split import split_by_hash


def test_shares_of_split_by_hash():
    """Of 10,000 contexts the standard deviation of the 10 % shares is 0.3 %."""
    drawn = [split_by_hash(f"song {k}.mp3") for k in range(10_000)]
    assert drawn.count("train") / 10_000 == pytest.approx(0.8, abs=0.015)
    assert drawn.count("validation") / 10_000 == pytest.approx(0.1, abs=0.01)
    assert drawn.count("test") / 10_000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("context", "percentile", "partition"),
    [
        ("dog/a.wav", 21, "train"),
        ("ünicode é.wav", 55, "train"),
        ("song6", 95, "test"),
        ("song10", 91, "test"),
        ("song20", 85, "validation"),
        ("song33", 80, "validation"),
    ],
)
def test_split_by_hash_is_pinned(context, percentile, partition):
    digest = hashlib.sha256(context.encode()).digest()
    assert int.from_bytes(digest[:4], "big") % 100 == percentile
    assert split_by_hash(context) == partition
