"""The command ``dem``, and what every stage shares: settings, errors, storage, logging."""

__version__ = "0.4.0"
