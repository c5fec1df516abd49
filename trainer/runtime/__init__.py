"""The process and its job directory: start-up, SIGTERM, storage, memory."""
