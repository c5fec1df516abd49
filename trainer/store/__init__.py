"""The frame store: all frames of some partitions in one array, and an index of them."""
