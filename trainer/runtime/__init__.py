"""The process and its job directory: start-up, storage, memory."""
