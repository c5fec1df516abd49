"""The decoder: from an open audio file to samples at the rate of the features.

It loads soundfile, soxr and NumPy, and nothing else in the schema imports it.
"""
