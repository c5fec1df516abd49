"""Measures of an embedding and of a classifier: pure functions of arrays."""
