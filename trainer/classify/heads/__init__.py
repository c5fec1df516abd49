"""Heads: classifiers on frozen vectors, with one interface to fit, apply, save and load them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from dem import storage
from trainer.classify.examples import Examples
from trainer.classify.posteriors import (
    Classifier,
    Posteriors,
    per_recording,
    per_tile,
    posteriors_of,
)
from trainer.config import ClassifyConfig
from trainer.data.vector_table import VectorTable

_TILE, _RECORDING = "classifier", "recording_classifier"  # names of files


class FittedHead(Classifier, Protocol):
    """A fitted classifier."""

    @property
    def regularisation(self) -> float:
        """The chosen strength of the regularisation."""

    @classmethod
    def fit(
        cls,
        train: VectorTable,
        validation: VectorTable | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
        level: Callable[[Posteriors], Posteriors],
    ) -> Self:
        """Fit to labelled rows; all classes have the same weight.

        Args:
            train: labelled rows.
            validation: labelled rows that choose the regularisation by the log loss of `level`;
                None: held-out sessions of `train` do.
            config: the regularisations to choose from, of which the first wins a tie; the seed.
            label_names: of all classes.
            level: `per_tile` or `per_recording`: what the classifier is used for.

        Raises:
            InputError: the rows have one label, or cannot be split.
        """

    @classmethod
    def load(cls, stem: str) -> Self:
        """Load what `save` wrote."""

    def save(self, stem: str) -> None:
        """Write a file of this URI and a suffix."""


@dataclass(frozen=True)
class Classifiers:
    """The classifiers of tiles and of recordings."""

    tile: FittedHead
    recording: FittedHead | None  # None: a recording has the mean of its tiles' posteriors

    @classmethod
    def fit(
        cls,
        head: type[FittedHead],
        train: Examples,
        validation: Examples | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
    ) -> Self:
        """Fit as the settings say; each regularisation is chosen on rows that it is fitted to.

        The log loss of mean posteriors would favour tile classifiers that are too sure, since a
        mean is less sure than what it is of.
        """
        held_out = validation.tiles if validation else None
        tile = head.fit(train.tiles, held_out, config, label_names, per_tile)
        if config.recording_from == "posteriors":
            return cls(tile, None)
        held_out = validation.recordings if validation else None
        recording = head.fit(train.recordings, held_out, config, label_names, per_recording)
        return cls(tile, recording)

    @property
    def regularisation(self) -> dict[str, float]:
        """The chosen value of each classifier, by level."""
        levels = {"tile": self.tile, "recording": self.recording}
        return {level: head.regularisation for level, head in levels.items() if head}

    @property
    def recording_from(self) -> str:
        """The setting of that name."""
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

    def of_recordings(self, examples: Examples) -> Posteriors:
        """Posteriors of the recordings, ordered by their ids."""
        if self.recording is None:
            return per_recording(self.of_tiles(examples.overlapping))
        return posteriors_of(self.recording, examples.recordings)
