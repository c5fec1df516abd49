"""Order: the shortest walk through songs, and a path between two."""
