"""What a host offers in its reply to EHLO, read with the distrust that any peer's words deserve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Offered(NamedTuple):
    """`extensions` are the keywords in upper case with their parameters; the rest is read out of them.

    `max_size` is in bytes, 0 where none is known (RFC 1870 4). `max_transactions` are those of one connection,
    `max_recipients` and `max_domains` those of one transaction, 0 where the host doesn't say (RFC 9422 4).
    """

    extensions: Mapping[str, str]
    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    chunks: bool = False
    max_size: int = 0
    max_transactions: int = 0
    max_recipients: int = 0
    max_domains: int = 0


_number = re.compile(r"[1-9][0-9]{0,5}", re.ASCII).fullmatch

#: After HELO, and before anything.
NOTHING = Offered({})


def read(lines: Sequence[str]) -> Offered:
    """A reply's lines behind the first (RFC 5321 4.1.1.1). What makes no sense is as good as not said."""
    extensions: dict[str, str] = {}
    for line in lines:
        keyword, _, parameters = line.strip().partition(" ")
        extensions[keyword.upper()] = parameters.strip()
    size = extensions.get("SIZE", "")
    limits = _limits(extensions.get("LIMITS", ""))
    return Offered(
        extensions,
        pipelining="PIPELINING" in extensions,
        eight_bit="8BITMIME" in extensions,
        # Without 8BITMIME it isn't SMTPUTF8 (RFC 6531 3.1).
        utf8="8BITMIME" in extensions and "SMTPUTF8" in extensions,
        dsn="DSN" in extensions,
        # Of use only where more than one command can be under way, and believed only where the enhanced code of a
        # reply tells that it isn't one to MAIL or RCPT.
        chunks={"CHUNKING", "PIPELINING", "ENHANCEDSTATUSCODES"} <= extensions.keys(),
        max_size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0,
        max_transactions=limits.get("MAILMAX", 0),
        max_recipients=limits.get("RCPTMAX", 0),
        max_domains=limits.get("RCPTDOMAINMAX", 0),
    )


def _limits(parameters: str) -> dict[str, int]:
    """Those that make sense, by name; of two for the same the smaller."""
    limits: dict[str, int] = {}
    for parameter in parameters.split():
        name, _, number = parameter.upper().partition("=")
        if _number(number):
            limits[name] = min(int(number), limits.get(name, int(number)))
    return limits
