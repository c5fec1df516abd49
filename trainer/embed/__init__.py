"""Vectors of tiles as Parquet."""
