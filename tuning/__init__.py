"""Tuning stage: searches settings of the training, on one machine or on many that may vanish."""
