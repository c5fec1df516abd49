"""Stage 2: training without labels."""
