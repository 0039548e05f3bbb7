"""Parameters of Content-Type and Content-Disposition, those beyond ASCII and the long ones as RFC 2231 has it. Pure."""

from __future__ import annotations

import re

_TOKEN = r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"
#: What needs no quotes; the marks of RFC 2231 are in quotes, lest somebody reads them as such.
_is_plain = re.compile(r"[!#$&+.^_`{|}~0-9A-Za-z-]+").fullmatch
_is_kind = re.compile(rf'({_TOKEN}/{_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[^"\\]*"))*)\s*;?').fullmatch
_given = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"([^"\\]*)")').findall
_special = re.compile(r'["\\]').sub
#: Octets that stand for themselves in an extended value (RFC 2231 7, RFC 5987 3.2.1).
_plain = frozenset(b"!#$&+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
#: Longest parameter in one piece (characters), so that a line with it is short.
_LONGEST = 68


def parsed(kind: str) -> tuple[str, dict[str, str]] | None:
    """`text/html; charset=utf-8` as type and parameters, all names in lower case; None when it is no such thing
    (RFC 2045 5.1)."""
    match = _is_kind(kind.strip())
    if match is None or len(kind) > 500:
        return None
    return match[1].lower(), {name.lower(): token or quoted for name, token, quoted in _given(match[2])}


def value(first: str, parameters: dict[str, str]) -> str:
    """The value of a field: what it is, and its parameters, with a blank before each."""
    return "".join((first, *(f"; {one}" for name, text in parameters.items() for one in _written(name, text))))


def _written(name: str, text: str) -> list[str]:
    """One parameter, in as many pieces as it needs."""
    if text.isascii():
        short = text if _is_plain(text) else '"' + _special(r"\\\g<0>", text) + '"'
        if len(name) + 1 + len(short) <= _LONGEST:
            return [f"{name}={short}"]
    octets = [chr(one) if one in _plain else f"%{one:02X}" for one in text.encode()]
    whole = "utf-8''" + "".join(octets)
    if len(name) + 2 + len(whole) <= _LONGEST:
        return [f"{name}*={whole}"]
    pieces, piece = [], "utf-8''"
    for octet in octets:
        if len(piece) + len(octet) > _LONGEST - len(name) - 6:
            pieces.append(piece)
            piece = ""
        piece += octet
    pieces.append(piece)
    return [f"{name}*{number}*={piece}" for number, piece in enumerate(pieces)]
