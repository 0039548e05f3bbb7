"""Zonerelay: an outbound mail relay. The way of a message is told in docs/flow.md."""

__version__ = "0.1.0"
