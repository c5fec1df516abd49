"""From an open audio file to samples at the rate of the features, and to log-mel tiles.

It loads soundfile, soxr, SciPy and NumPy, and nothing else in the schema imports it.
"""
