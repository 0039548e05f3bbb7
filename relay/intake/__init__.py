"""The single door into the queue."""
