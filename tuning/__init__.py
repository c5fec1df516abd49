"""Tuning stage: searches training settings, on one machine or on several preemptible ones."""
