"""The library: compares recordings, finds what is alike, puts songs in order.

It reads vectors as Parquet and imports neither TensorFlow nor Beam. Only a query that is an audio
file outside of the index starts the model.
"""
