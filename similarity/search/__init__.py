"""Search: what the words of a query mean, what is like it, and how songs compare."""
