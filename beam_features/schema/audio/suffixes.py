"""Which files are taken for audio, by their names."""

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64"),
    *(".m4a", ".aac", ".mp4", ".wma"),  # libsndfile has no decoder for these
)
