"""Measures of similarity: nearest songs, hubs, and the scale from 0 to 1; pure functions."""
