"""The index: a row per recording, built from the vectors of its tiles."""
