"""The map: one HTML file with a point per song, to look at, search and listen to."""
