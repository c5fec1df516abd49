"""From shards to batches: features, pairs, tiles, augmentation."""
