"""Labelled tiles of a role, such as training or test, and their recordings."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.classify.coverage import number_classes
from trainer.data.vector_table import VectorTable, recording_table


@dataclass(frozen=True)
class Examples:
    """Labelled tiles of a role.

    Attributes:
        tiles: side by side; tiles are classified and counted by these.
        overlapping: the same and those between them; recordings are classified by these.
    """

    tiles: VectorTable
    overlapping: VectorTable

    @functools.cached_property
    def recordings(self) -> VectorTable:
        """One row per recording; see `recording_table`."""
        return recording_table(self.overlapping)


@dataclass(frozen=True)
class Roles:
    """What classifiers are fitted to, what chooses their settings (if any), and what tests them."""

    train: Examples
    validation: Examples | None
    test: Examples

    def numbered(self, label_names: Sequence[str]) -> tuple["Roles", tuple[str, ...]]:
        """Number the classes of all roles together, see `number_classes`; return their names."""
        roles = [self.train, self.test, *([self.validation] if self.validation else [])]
        tables = [table for role in roles for table in (role.tiles, role.overlapping)]
        names, numbered = number_classes(tables, label_names)
        train, test, *rest = map(Examples, numbered[::2], numbered[1::2])
        return Roles(train, rest[0] if rest else None, test), names
