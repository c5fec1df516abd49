"""The validation pool: a fixed set of tiles, its embeddings, and measures of them."""

import functools
import math
from collections.abc import Callable

from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import RetrievalPool, retrieval_pool
from trainer.metrics.candidates import apart_in_time
from trainer.metrics.collapse import measure_spread
from trainer.metrics.retrieval import recall_at_1
from trainer.model.learner import Learner
from trainer.model.vectors import Float32, as_representation, represent_all

_POOL_TILES = 4096
_FEW_CONTEXTS = 5  # of which chance finds the right one often
_TRAINING_TILES = 512  # without validation partitions, enough for signs of collapse


class Validation:
    """A fixed pool of tiles, and the embeddings of it."""

    def __init__(
        self,
        features: Features,
        config: ResolvedConfig,
        learner: Learner,
        corrupt: CorruptRecords,
        before_block: Callable[[], None],
    ) -> None:
        """`before_block` is called every few hundred tiles, and may raise to stop."""
        self._features, self._config = features, config
        self._encode = as_representation(learner.encoder)
        self._project = as_representation(learner.projector)
        self._corrupt, self._before_block = corrupt, before_block

    @functools.cached_property
    def pool(self) -> RetrievalPool:
        """Tiles of the validation partitions; without any, of the training partitions."""
        names, size = self._config.validation_partitions, _POOL_TILES
        if not names:
            names, size = self._config.train_partitions, _TRAINING_TILES
        return retrieval_pool(self._features, names, size=size, corrupt=self._corrupt)

    def embed(self) -> Float32:
        """Embed the pool: ``[n, embedding_size]``."""

        def encode(tiles: Float32) -> Float32:
            self._before_block()
            return self._encode(tiles)

        return represent_all(encode, self.pool.log_mel)

    def recall_at_1(self, embeddings: Float32) -> float | None:
        """Recall on the validation partitions; None where they hold nothing to confuse or find."""
        if not self._config.validation_partitions or self._contexts < 2:
            return None
        pool = self.pool
        apart = apart_in_time(pool.contexts, pool.start_ms, self._config.retrieval_gap_s)
        recall = recall_at_1(embeddings, pool.contexts, apart)
        return None if math.isnan(recall) else recall

    def limits(self) -> str | None:
        """Say why `recall_at_1` is not measured, or means little; None if neither."""
        names = ", ".join(self._config.validation_partitions)
        if names and self._contexts < 2:
            return f"{names} holds one context, such as a song: recall_at_1 needs two"
        if names and self._contexts < _FEW_CONTEXTS:
            return (
                f"{names} holds {self._contexts} contexts, such as songs: of so few, recall_at_1 "
                "is high even by chance"
            )
        return None

    @functools.cached_property
    def _contexts(self) -> int:
        return len(set(self.pool.contexts.tolist()))

    def spread(self, embeddings: Float32) -> dict[str, float]:
        """Measure how different the embeddings are; see `trainer.metrics.collapse`."""
        return measure_spread(embeddings, represent_all(self._project, embeddings))
