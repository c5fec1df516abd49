"""A stable split for datasets without one: by the sha256 of the session.

Sessions are ordered by their hash, training first. From 100 sessions on, the hash alone
decides, so a session stays where it is whatever others there are. Fewer are counted off to exact
shares, which moves a few when one is added: docs/decisions/features.md.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from beam_features.recording import Recording

_EXACT_BELOW = 100
_PERCENT = {"train": 80, "validation": 10, "test": 10}


def sha256_of(text: str) -> str:
    """Return the hex digest of a string: stable across processes, unlike `hash`."""
    return hashlib.sha256(text.encode()).hexdigest()


def split(sessions: Iterable[str]) -> dict[str, str]:
    """Draw train, validation or test, 80/10/10, for each of the sessions."""
    names = sorted(set(sessions), key=_place)
    if len(names) >= _EXACT_BELOW:
        return {name: split_by_hash(name) for name in names}
    drawn = [partition for partition, n in _exact_counts(len(names)).items() for _ in range(n)]
    return dict(zip(names, drawn, strict=True))


def split_by_hash(session: str) -> str:
    """Draw a partition from the sha256 of the session alone."""
    percentile = _place(session)[0]
    return "train" if percentile < 80 else "validation" if percentile < 90 else "test"


def _exact_counts(total: int) -> dict[str, int]:
    """Divide `total` 80/10/10 by largest remainder; from 3 on, no partition is empty."""
    counts = {name: total * percent // 100 for name, percent in _PERCENT.items()}
    by_remainder = sorted(_PERCENT, key=lambda name: -(total * _PERCENT[name] % 100))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    if total >= len(_PERCENT):
        held_out = {name: max(1, counts[name]) for name in ("validation", "test")}
        counts = {"train": total - sum(held_out.values()), **held_out}
    return counts


def draw_partitions(recordings: Iterable[Recording]) -> tuple[Recording, ...]:
    """Draw the partition of each recording that is marked `drawn`, all of a session alike.

    A session of which other recordings have one fixed partition gets that one, not another.
    """
    recordings = tuple(recordings)
    fixed: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        if not recording.drawn:
            fixed[recording.session_id].add(recording.partition)
    follow = {session: min(names) for session, names in fixed.items() if len(names) == 1}
    drawn = split(r.session_id for r in recordings if r.drawn and r.session_id not in follow)
    partitions = drawn | follow
    return tuple(
        replace(r, partition=partitions[r.session_id]) if r.drawn else r for r in recordings
    )


def _place(session: str) -> tuple[int, str]:
    """Where a session stands in the order: its percentile, which `split_by_hash` reads, first.

    Copies of a tree have the same split, though some systems store letters and accents apart.
    """
    digest = sha256_of(unicodedata.normalize("NFC", session))
    return int(digest[:8], 16) % 100, digest
