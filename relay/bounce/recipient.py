"""Recipients as the fields of a status report have them (RFC 3464 2.3.1, RFC 6533 3). Pure."""

from __future__ import annotations

import re

from relay.bounce.parts import one_line
from relay.smtp import xtext

#: What stands in an internationalised address only as the number of its character.
_special = re.compile(r"[ +=\\\x00-\x1f\x7f]")
_beyond = re.compile(r"[^!-*,-<>-\[\]-~]")


def final(address: str, utf8: bool) -> str:
    """An address with its type. `utf8`: characters beyond ASCII may stand there."""
    if address.isascii():
        return f"rfc822; {one_line(address)}"
    pattern = _special if utf8 else _beyond
    return "utf-8; " + one_line(pattern.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", address))


def original(orcpt: str) -> str:
    """What the client gave as ORCPT, decoded (RFC 3461 6.3); "" where that is nothing that can be shown."""
    kind, semicolon, address = orcpt.partition(";")
    try:
        return f"{kind}; {xtext.decode(address)}" if semicolon and xtext.orcpt(orcpt) else ""
    except ValueError:
        return ""


def envelope_id(envid: str) -> str:
    """What the client gave as ENVID, decoded (RFC 3461 6.2); "" where that is nothing that can be shown."""
    try:
        return xtext.decode(envid) if envid and xtext.envid(envid) else ""
    except ValueError:
        return ""
