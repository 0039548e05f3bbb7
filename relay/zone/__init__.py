"""Sending zones: which addresses, how much at once, and which zone a message goes through."""
