"""From one recording to tiles of log-mel frames."""
