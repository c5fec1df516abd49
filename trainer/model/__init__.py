"""Encoders, losses, optimizer, and what is exported."""
