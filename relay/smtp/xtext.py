"""xtext, the encoding of what a client attaches to a command (RFC 3461 4), and what it may hold there."""

from __future__ import annotations

import re

#: Longest ENVID and ORCPT in characters, as they stand on the line (RFC 3461 4.2, 4.4).
MAX_ENVID = 100
MAX_ORCPT = 500

_xtext = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*").fullmatch
_coded = re.compile(r"\+([0-9A-F]{2})")
_kind = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?").fullmatch
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def decode(text: str) -> str:
    """The characters behind `text`, which are printable ASCII, blanks included.

    Raises:
        ValueError: it is no xtext, or what is behind it could end a line somewhere.
    """
    if _xtext(text) is None:
        raise ValueError("bad xtext")
    decoded = _coded.sub(lambda found: chr(int(found[1], 16)), text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise ValueError("control character in xtext")
    return decoded


def envid(value: str) -> str:
    """The value of ENVID as it came (RFC 3461 4.4). Raises ValueError."""
    if not value or len(value) > MAX_ENVID:
        raise ValueError("bad ENVID")
    decode(value)
    return value


def orcpt(value: str) -> str:
    """The value of ORCPT as it came: `rfc822;user@example.com` (RFC 3461 4.2, RFC 6533 3).

    Raises:
        ValueError: not in that form.
    """
    kind, semicolon, address = value.partition(";")
    if len(value) > MAX_ORCPT or not semicolon or not address or _kind(kind) is None:
        raise ValueError("bad ORCPT")
    decode(address)
    return value


def notify(value: str) -> str:
    """The value of NOTIFY in upper case (RFC 3461 4.1). Raises ValueError."""
    value = value.upper()
    words = value.split(",")
    if value != "NEVER" and (not _NOTIFY.issuperset(words) or len(set(words)) != len(words)):
        raise ValueError("bad NOTIFY")
    return value
