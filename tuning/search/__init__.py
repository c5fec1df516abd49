"""The state of a search and its algorithms."""
