"""What is measured after each epoch: is the embedding good, and is it still one?"""

from collections.abc import Callable

import keras

from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import RetrievalPool, retrieval_pool
from trainer.metrics.collapse import measure_spread
from trainer.metrics.retrieval import recall_at_1
from trainer.model.vectors import Float32, as_representation, represent_all

_TILES_TO_WATCH = 512  # of the training partitions, for signs of collapse where no others are there


class Validation:
    """A fixed pool of tiles, and the embeddings of it."""

    def __init__(
        self,
        features: Features,
        config: ResolvedConfig,
        encoder: keras.Model,
        projector: keras.Model,
        corrupt: CorruptRecords,
        before_block: Callable[[], None],
    ) -> None:
        """`before_block` is called every few hundred tiles, and may raise to stop."""
        self._features, self._config = features, config
        self._encode, self._project = as_representation(encoder), as_representation(projector)
        self._corrupt, self._before_block = corrupt, before_block
        self._pool: RetrievalPool | None = None

    @property
    def pool(self) -> RetrievalPool:
        """Tiles of the validation partitions; without any, of the training partitions."""
        if self._pool is None:
            if names := self._config.validation_partitions:
                self._pool = retrieval_pool(self._features, names, corrupt=self._corrupt)
            else:
                self._pool = retrieval_pool(
                    self._features,
                    self._config.train_partitions,
                    size=_TILES_TO_WATCH,
                    corrupt=self._corrupt,
                )
        return self._pool

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
        """Measure how different the embeddings are, as `trainer.metrics.collapse` does."""
        return measure_spread(embeddings, represent_all(self._project, embeddings))
