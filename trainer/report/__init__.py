"""One HTML page about a job."""
