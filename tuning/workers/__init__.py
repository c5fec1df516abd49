"""Who runs trials: this process, or workers that ask a chief."""
