"""Why recordings were not used: a table of the reasons to print."""

from collections import defaultdict
from collections.abc import Iterable

from beam_features.recording import Rejection

_NAMES = 3  # shown of each reason


def reasons_table(unused: Iterable[Rejection], root: str) -> str:
    """Count the rejected recordings and skipped files by reason, with a few names of each.

    Args:
        unused: what could not be used.
        root: the input; names below it are shown relative to it.
    """
    by_reason: dict[str, list[str]] = defaultdict(list)
    for rejection in unused:
        by_reason[rejection.reason].append(rejection.uri.removeprefix(root.rstrip("/") + "/"))
    if not by_reason:
        return "rejected: none"
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return "\n".join(
        [
            f"rejected: {sum(len(names) for names in by_reason.values())}",
            *(f"  {reason:<18}{len(names):>5}  {_few(names)}" for reason, names in ordered),
        ]
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(map(_printable, names[:_NAMES]))
    more = len(names) - _NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _printable(name: str) -> str:
    """Escape line breaks and bytes that are not UTF-8, which a terminal cannot show."""
    return name if name.isprintable() else repr(name)[1:-1]
