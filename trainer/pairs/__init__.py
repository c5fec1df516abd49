"""Pairs of tiles, drawn from the frame store: pair `i` of step `s` follows from (seed, s, i)."""
