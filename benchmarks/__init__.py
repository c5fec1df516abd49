"""Measurements, as ratios within one run on one machine; no tests depend on them."""
