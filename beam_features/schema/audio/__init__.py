"""The decoder: the same samples for the feature job and for a model that hears a file."""
