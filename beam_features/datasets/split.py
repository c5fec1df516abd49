"""A stable split for datasets without one: by the sha256 of the context."""

import hashlib


def sha256_of(text: str) -> str:
    """Return the hex digest of a string: stable across processes, unlike `hash`."""
    return hashlib.sha256(text.encode()).hexdigest()


def split_by_hash(context_id: str) -> str:
    """Draw train, validation or test, 80/10/10, from the sha256 of the context."""
    percentile = int(sha256_of(context_id)[:8], 16) % 100
    return "train" if percentile < 80 else "validation" if percentile < 90 else "test"
