"""The command ``dem``, and what every stage shares: settings, errors, storage, logging."""
