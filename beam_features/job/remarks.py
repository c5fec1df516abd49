"""Lines about recordings that a user should look at: silent, cancelled and equal ones, by name."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from beam_features.schema.sources import Source

_NAMES = 3  # in a line; sources.parquet has all

Equals = Sequence[Source]


def remarks_on(sources: Sequence[Source], equals: Sequence[Equals]) -> tuple[str, ...]:
    """Name silent recordings, those whose channels cancel, and equal ones; a line for each kind.

    Args:
        sources: all recordings.
        equals: groups of those that hold the same samples.
    """
    silent = [s.recording for s in sources if s.is_silent]
    cancelled = [s.recording for s in sources if s.cancelled]
    return (
        *_line("silent", silent, "training takes no anchors from them"),
        *_line(
            "cancelled",
            cancelled,
            "the mean of their channels is 20 dB or more below the channels; "
            "--set channels=first takes the first channel",
        ),
        *_on_duplicates(equals),
    )


def _on_duplicates(groups: Sequence[Equals]) -> Iterator[str]:
    """Say which recordings are equal, and the harm where they are not in one session."""
    leaks = [group for group in groups if _differ(group, lambda source: source.partition)]
    apart = [group for group in groups if _differ(group, lambda source: source.session)]
    opposites = [group for group in apart if group not in leaks]
    yield from _line("duplicates", map(_names, groups), "they hold the same samples")
    yield from _line(
        "warning: duplicates in several partitions",
        (" = ".join(f"{s.recording} ({s.partition})" for s in group) for group in leaks),
        "a model that has learned from one partition is tested on the same sound in another; "
        "remove one of each",
    )
    yield from _line(
        "warning: duplicates in several sessions",
        map(_names, opposites),
        "training takes them as opposites; remove one of each",
    )


def _line(kind: str, names: Iterable[str], meaning: str) -> Iterator[str]:
    names = list(names)
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield f"{kind}: {', '.join(names[:_NAMES])}{more}: {meaning}"


def _names(group: Equals) -> str:
    return " = ".join(source.recording for source in group)


def _differ(group: Equals, value_of: Callable[[Source], Hashable]) -> bool:
    return len(set(map(value_of, group))) > 1
