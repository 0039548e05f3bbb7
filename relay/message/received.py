"""The Received line a delivery leaves with (RFC 5321 4.4): made at the attempt, never stored.

Most of what stands in it was said by a client, so every word is reduced to characters
that can end neither the line nor the comment it stands in.
"""

from __future__ import annotations

from functools import lru_cache

from relay.message.date import date_of
from relay.message.values import Origin

_MAX_WORD = 255
_MAX_PATH = 512


def _only(allowed: str) -> bytes:
    """A translation table that keeps the printable ASCII characters in `allowed`."""
    kept = frozenset(allowed.encode("ascii"))
    return bytes(byte if byte in kept else ord("?") for byte in range(256))


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_TEXT = _only(_PRINTABLE)
_COMMENT = _only("".join(c for c in _PRINTABLE if c not in "()\\"))
_WORD = _only("".join(c for c in _PRINTABLE if c not in ' ()<>,;\\"'))


def _clean(text: str, table: bytes, limit: int = _MAX_WORD) -> str:
    return text[:limit].encode("ascii", "replace").translate(table).decode("ascii")


def received_line(origin: Origin, by: str, product: str, name: str, recipient: str, when_ms: int) -> bytes:
    """The whole header field, folded, each line with its CRLF and shorter than 998 bytes.

    Args:
        by: the name we go by at this delivery (what EHLO said).
        product: what stands in brackets behind it.
        name: `id.seq` of the delivery.
        recipient: "" where there are several: none is to learn of the others (RFC 5321 7.2).
        when_ms: the time of acceptance.
    """
    to = f"\r\n for <{as_shown(recipient)}>" if recipient else ""
    return (
        f"{_clauses(origin, by, product)}{name}{to}{_tls(origin.tls)};\r\n {date_of(when_ms)}\r\n"
    ).encode("ascii")


def as_shown(recipient: str) -> str:
    """A recipient as the line has it."""
    return _clean(recipient, _TEXT, _MAX_PATH)


@lru_cache(maxsize=1024)
def _clauses(origin: Origin, by: str, product: str) -> str:
    """The part that is the same for everything one client sends in a session."""
    helo = _clean(origin.helo, _WORD) or ("localhost" if origin.transport == "HTTP" else "unknown")
    tag = "IPv6:" if ":" in origin.address else ""
    literal = f"[{tag}{_clean(origin.address, _WORD)}]"
    client = f"({literal} {_clean(origin.host, _WORD)})" if origin.host else literal
    user = f" (Authenticated sender: {_clean(origin.user, _COMMENT)})" if origin.user else ""
    return (
        f"Received: from {helo} {client}{user}\r\n"
        f" by {_clean(by, _WORD)} ({_clean(product, _COMMENT)})"
        f" with {_clean(origin.transport, _WORD)} id "
    )


@lru_cache(maxsize=64)
def _tls(tls: str) -> str:
    """`Origin.tls` is the protocol version and the cipher, a blank between them."""
    if not tls:
        return ""
    version, _, cipher = tls.partition(" ")
    return f"\r\n (version={_clean(version, _WORD)} cipher={_clean(cipher, _WORD)})"
