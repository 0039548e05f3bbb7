"""The configuration: its typed schema, and the way from the file to it."""
