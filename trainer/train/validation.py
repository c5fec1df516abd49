"""The validation pool: a fixed set of tiles, its embeddings, and measures of them."""

import functools
from collections.abc import Callable

from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import RetrievalPool, retrieval_pool
from trainer.metrics.collapse import measure_spread
from trainer.metrics.retrieval import recall_at_1
from trainer.model.learner import Learner
from trainer.model.vectors import Float32, as_representation, represent_all

_POOL_TILES = 4096
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
        """Recall on the validation partitions; None without any."""
        if not self._config.validation_partitions:
            return None
        return recall_at_1(embeddings, self.pool.contexts)

    def spread(self, embeddings: Float32) -> dict[str, float]:
        """Measure how different the embeddings are; see `trainer.metrics.collapse`."""
        return measure_spread(embeddings, represent_all(self._project, embeddings))
