"""What a host offers in its reply to EHLO, read with the distrust that any peer's words deserve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Offered(NamedTuple):
    """`extensions` are the keywords in upper case with their parameters; the rest is read out of them.

    `max_size` is in bytes, 0 where none is known (RFC 1870 4).
    """

    extensions: Mapping[str, str]
    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    max_size: int = 0


#: After HELO, and before anything.
NOTHING = Offered({})


def read(lines: Sequence[str]) -> Offered:
    """A reply's lines behind the first (RFC 5321 4.1.1.1). What makes no sense is as good as not said."""
    extensions: dict[str, str] = {}
    for line in lines:
        keyword, _, parameters = line.strip().partition(" ")
        extensions[keyword.upper()] = parameters.strip()
    size = extensions.get("SIZE", "")
    return Offered(
        extensions,
        pipelining="PIPELINING" in extensions,
        eight_bit="8BITMIME" in extensions,
        # Without 8BITMIME it isn't SMTPUTF8 (RFC 6531 3.1).
        utf8="8BITMIME" in extensions and "SMTPUTF8" in extensions,
        dsn="DSN" in extensions,
        max_size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0,
    )
