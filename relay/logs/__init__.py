"""Two logs: the mail log, a line per step of a message; and the relay's own events."""
