"""The commands of ``dem`` that read or write an index."""
