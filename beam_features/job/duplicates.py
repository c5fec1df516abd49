"""Recordings that hold the same: files of equal bytes before the plan, equal samples after it."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import BinaryIO

from beam_features.datasets.split import draw_partitions
from beam_features.recording import Recording
from beam_features.schema.sources import Source
from dem import storage
from dem.access import FileVersion
from dem.errors import InputError, JobError

Group = tuple[str, ...]

_PART_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_THREADS = 16  # more than cores: they wait for the disk
_REPORT_EVERY_S = 10.0


def equal_files(versions: Mapping[str, FileVersion], report: Callable[[str], None]) -> list[Group]:
    """Find files of equal content.

    Only files of equal size are read: a part in the middle, since headers and silence at the start
    are often alike; then all of those whose parts are equal. Of objects, the checksums that storage
    lists are compared. Files that cannot be read are left out; the job rejects them with a reason.

    Args:
        versions: of the files, by URI.
        report: called with a line of progress now and then.

    Returns:
        Groups of two URIs or more.
    """
    sizes = {uri: version.bytes for uri, version in versions.items()}
    groups = _split([sorted(uri for uri, n_bytes in sizes.items() if n_bytes)], sizes)
    for read in (_middle, _sha256):
        candidates = {uri: versions[uri] for group in groups for uri in group}
        groups = _split(groups, _read_all(read, candidates, report))
    return groups


def share_sessions(
    recordings: Sequence[Recording], groups: Iterable[Group]
) -> tuple[Recording, ...]:
    """Unite the sessions of recordings whose files are equal, and draw their partitions again.

    So equal recordings are no opposites of each other, and where partitions are drawn they are in
    one. Sessions with sensors stay as they are: their timelines belong to one clock.

    Args:
        recordings: of the dataset.
        groups: URIs of equal files.
    """
    sessions: dict[str, str] = {r.uri: r.session_id for r in recordings if not r.sensor_id}
    names = _unite([sessions[uri] for uri in group if uri in sessions] for group in groups)
    if not names:
        return tuple(recordings)
    return draw_partitions(
        replace(r, session_id=names.get(r.session_id, r.session_id)) for r in recordings
    )


def equal_sounds(sources: Iterable[Source]) -> list[list[Source]]:
    """Groups of recordings that hold the same samples, in whatever container; no silent ones."""
    by_id = {source.recording: source for source in sources if not source.is_silent}
    groups = _split([sorted(by_id)], {name: by_id[name].samples_sha256 for name in by_id})
    return [[by_id[name] for name in group] for group in groups]


def _split(groups: Iterable[Sequence[str]], keys: Mapping[str, Hashable | None]) -> list[Group]:
    """Split groups by key; leave out those of one member, and members without a key."""
    parts: list[Group] = []
    for group in groups:
        alike: dict[Hashable, list[str]] = defaultdict(list)
        for name in group:
            if keys[name] is not None:
                alike[keys[name]].append(name)
        parts += [tuple(names) for names in alike.values() if len(names) > 1]
    return parts


def _unite(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """Unite groups that overlap: the first name, in order, for each of the other names."""
    parents: dict[str, str] = {}

    def first_of(name: str) -> str:
        while name in parents:
            name = parents[name]
        return name

    for group in groups:
        roots = sorted({first_of(name) for name in group})
        for name in roots[1:]:
            parents[name] = roots[0]
    return {name: first_of(name) for name in parents}


def _read_all(
    read: Callable[[BinaryIO, int], bytes],
    versions: Mapping[str, FileVersion],
    report: Callable[[str], None],
) -> dict[str, Hashable | None]:
    """What `read` finds in each file, or its checksum if storage knows one; None: unreadable."""

    def key_of(uri: str) -> Hashable | None:
        if versions[uri].checksum:
            return versions[uri].checksum
        try:
            with storage.open_binary(uri) as file:
                return read(file, versions[uri].bytes)
        except (OSError, InputError, JobError):
            return None

    keys: dict[str, Hashable | None] = {}
    reported_at = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        for uri, key in zip(versions, threads.map(key_of, versions), strict=True):
            keys[uri] = key
            if time.monotonic() - reported_at > _REPORT_EVERY_S:
                report(f"compared {len(keys)} of {len(versions)} files of equal size")
                reported_at = time.monotonic()
    return keys


def _middle(file: BinaryIO, n_bytes: int) -> bytes:
    file.seek(n_bytes // 2)
    return file.read(_PART_BYTES)


def _sha256(file: BinaryIO, _: int) -> bytes:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()
