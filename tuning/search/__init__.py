"""State, algorithms and messages of a search."""
