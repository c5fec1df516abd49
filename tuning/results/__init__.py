"""Results of a search: files, figure, progress."""
