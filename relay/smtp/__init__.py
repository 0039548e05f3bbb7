"""SMTP without I/O: grammar, replies, and the two ends of the conversation. Imports no Twisted."""
