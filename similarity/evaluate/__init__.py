"""How good a library is at what it is for: retrieval, hubs, and the order of songs."""
