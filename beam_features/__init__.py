"""Stage 1: audio files in, sharded TFRecords of log-mel tiles out, as an Apache Beam job."""
