"""Options that say which deliveries are meant."""

from __future__ import annotations

import argparse

STATES = ("queued", "deferred", "held", "sending")
_OPTIONS = {
    "zone": ("ZONE", "of this sending zone"),
    "domain": ("DOMAIN", "to this recipient domain"),
    "site": ("SITE", "to the domains of this site"),
    "sender": ("ADDRESS", 'from this address; "@example.com": from that domain; "<>": from nobody'),
    "recipient": ("ADDRESS", "to this address, or domain as above"),
    "tenant": ("TENANT", "of this tenant"),
    "tag": ("TAG", "with this tag"),
    "message_id": ("ID", "with this Message-ID, with its angle brackets"),
    "id": ("ID", "of this message"),
    "reason": ("CATEGORY", "whose last failure was of this category"),
    "older": ("TIME", 'that came in so long ago, such as "4h", or longer'),
    "younger": ("TIME", "that came in so long ago, or later"),
}


def filter_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for each thing that the queue is searched by."""
    group = parser.add_argument_group("which deliveries", "those that all that is named fits")
    for name, (metavar, text) in _OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    group.add_argument("--state", choices=STATES, help="that stand so")


def filter_of(arguments: argparse.Namespace) -> dict[str, str]:
    """What of it is given."""
    return {name: value for name in (*_OPTIONS, "state") if (value := getattr(arguments, name)) is not None}
