"""Processes of a search: the chief, workers, and trials."""
