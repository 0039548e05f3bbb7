"""What the names of tables must be, and to one another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from relay.config.names import is_host
from relay.config.plain import shown
from relay.config.schema import Config
from relay.config.shape import Problem

# Names go into URLs, metrics, log fields and queue keys.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
_A_WORD = "a name of letters, digits, dots, dashes and underscores"

#: What fits into each of the tables, and how it is called. Users are named as they log in; nobody is no user.
_TABLES: dict[str, tuple[Callable[[str], object], str]] = {
    "listeners": (_WORD, _A_WORD),
    "pools": (_WORD, _A_WORD),
    "zones": (_WORD, _A_WORD),
    "domains": (is_host, "a domain"),
    "sites": (_WORD, _A_WORD),
    "senders": (lambda name: name and name.isprintable(), "the name of a user"),
    "warmups": (_WORD, _A_WORD),
}


def problems(config: Config) -> Iterator[Problem]:
    """Names that don't fit, or that can't be told apart without their case."""
    for kind, (fits, what) in _TABLES.items():
        seen: dict[str, str] = {}
        for name in getattr(config, kind):
            former = seen.setdefault(name.lower(), name)
            if former != name:
                yield Problem((kind, name), f"differs from {shown(former)} by case alone")
            if not fits(name):
                yield Problem((kind, name), f"expected {what}, got {shown(name)}")
