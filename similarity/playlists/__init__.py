"""Playlists and other forms of output."""
