"""Input: the batches of a run, divided among hosts and replicas."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, batch_size: int
) -> Iterator[Any]:
    """Iterate over global batches; replica `r` of `R` gets the `r`-th of `R` equal parts.

    Each host makes the global batch and drops the rows of the others. This costs each as much as
    reading alone would, but the rows are the same on any number of hosts.
    """
    local_rows = batch_size // strategy.num_replicas_in_sync

    def rows_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = batch_size // context.num_input_pipelines
        first = rows * context.input_pipeline_id
        own = batches.map(
            lambda batch: {name: values[first : first + rows] for name, values in batch.items()}
        )
        return own.rebatch(local_rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(rows_of_host))
