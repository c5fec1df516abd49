"""Stages 2 and 3: log-mel tiles in, a trained embedding and a classifier on top of it out."""
