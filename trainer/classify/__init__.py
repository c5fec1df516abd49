"""Stage 3: classifiers on frozen vectors."""
