"""Heads: classifiers on frozen vectors that are fitted, asked, saved and loaded alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from dem import storage
from trainer.choices import HEADS as HEADS
from trainer.classify.posteriors import (
    Classifier,
    Posteriors,
    per_recording,
    per_tile,
    posteriors_of,
)
from trainer.config import ClassifyConfig
from trainer.model.vectors import VectorTable, recording_table

_TILE, _RECORDING = "classifier", "recording_classifier"  # names of files


class FittedHead(Classifier, Protocol):
    """A classifier of one head, fitted."""

    @property
    def regularisation(self) -> float:
        """How strongly it is regularised: the value that was chosen."""

    @classmethod
    def fit(
        cls,
        train: VectorTable,
        validation: VectorTable | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
        level: Callable[[Posteriors], Posteriors],
    ) -> Self:
        """Fit to labelled rows, classes counting alike, however many rows they have.

        Args:
            train: labelled rows.
            validation: labelled rows that choose the regularisation, by the macro-F1 of `level`;
                None: sessions of `train` that are held out do.
            config: the regularisations to choose from, the first wins a tie; the seed.
            label_names: of all classes.
            level: `per_tile` or `per_recording`: what the classifier is for.

        Raises:
            InputError: the rows are too much alike to fit to them.
        """

    @classmethod
    def load(cls, stem: str) -> Self:
        """Load what was saved under this URI."""

    def save(self, stem: str) -> None:
        """Write a file of this URI and a suffix."""


@dataclass(frozen=True)
class Classifiers:
    """What labels tiles, and recordings from their tiles."""

    tile: FittedHead
    recording: FittedHead | None  # None: a recording has the mean of its tiles' posteriors

    @classmethod
    def fit(
        cls,
        head: type[FittedHead],
        train: VectorTable,
        validation: VectorTable | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
    ) -> Self:
        """Fit what the settings ask for; each regularisation is chosen at its level of use."""
        if config.recording_from == "posteriors":
            tile = head.fit(train, validation, config, label_names, per_recording)
            return cls(tile, None)
        tile = head.fit(train, validation, config, label_names, per_tile)
        validation = recording_table(validation) if validation else None
        recording = head.fit(recording_table(train), validation, config, label_names, per_recording)
        return cls(tile, recording)

    @property
    def regularisation(self) -> dict[str, float]:
        """What was chosen for the classifier of each level that has one."""
        levels = {"tile": self.tile, "recording": self.recording}
        return {level: head.regularisation for level, head in levels.items() if head}

    @property
    def recording_from(self) -> str:
        """As in the settings."""
        return "vectors" if self.recording else "posteriors"

    @classmethod
    def load(cls, head: type[FittedHead], directory: str, recording_from: str) -> Self:
        """Load what `save` wrote."""
        tile = head.load(storage.join(directory, _TILE))
        if recording_from == "posteriors":
            return cls(tile, None)
        return cls(tile, head.load(storage.join(directory, _RECORDING)))

    def save(self, directory: str) -> None:
        """Write a file per classifier."""
        self.tile.save(storage.join(directory, _TILE))
        if self.recording:
            self.recording.save(storage.join(directory, _RECORDING))

    def of_tiles(self, tiles: VectorTable) -> Posteriors:
        """Posteriors of each tile."""
        return posteriors_of(self.tile, tiles)

    def of_recordings(self, tiles: VectorTable) -> Posteriors:
        """Posteriors of the recordings that the tiles are of, ordered by their ids."""
        if self.recording is None:
            return per_recording(self.of_tiles(tiles))
        return posteriors_of(self.recording, recording_table(tiles))
