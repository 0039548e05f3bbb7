"""Mail addresses: what RFC 5321 4.1.2 calls a Mailbox, checked once and normalised.

Everything that routes, counts or compares by domain relies on the form made here:
domains in lower case and in A-labels, literals in their shortest spelling. Local parts
stay as they are, those beyond ASCII (RFC 6531 3.3) too.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import NamedTuple

import idna

_MAX_LOCAL = 64
_MAX_DOMAIN = 255
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'

_BEYOND = "\x80-\U0010ffff"
_ATOM_8 = _ATOM.replace("[", f"[{_BEYOND}")
_QUOTED_8 = rf'"(?:[ !#-\[\]-~{_BEYOND}]|\\[ -~])*"'

_plain = re.compile(rf"({_DOT_ATOM})@({_LABEL}(?:\.{_LABEL})*)").fullmatch
_local = re.compile(rf"{_DOT_ATOM}|{_QUOTED}").fullmatch
_local_8 = re.compile(rf"{_ATOM_8}(?:\.{_ATOM_8})*|{_QUOTED_8}").fullmatch
_domain = re.compile(rf"{_LABEL}(?:\.{_LABEL})*").fullmatch


class Address(NamedTuple):
    """A checked address; `domain` is comparable byte by byte."""

    local: str
    domain: str

    @property
    def text(self) -> str:
        """The address as it stands between the angle brackets of MAIL and RCPT."""
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """What tells mailboxes apart: case doesn't, not even in the local part.

        Since only NFC passes, a letter beyond ASCII never becomes one within it.
        """
        return self.text.lower()


def parse(text: str, utf8: bool = False) -> Address:
    """The address `text` names, without angle brackets (RFC 5321 4.1.2, 4.5.3.1).

    Percent signs and exclamation marks in the local part mean nothing here: no source
    routes, no bang paths. With `utf8` the local part may go beyond ASCII (RFC 6531 3.3):
    printable text in NFC, so that what looks the same is the same. A domain in U-labels
    becomes A-labels either way.

    Raises:
        ValueError: it is no address; the text is a short reason for the client.
    """
    match = _plain(text)
    if match is not None:
        local, domain = match.groups()
        if len(local) > _MAX_LOCAL:
            raise ValueError("local part too long")
        if len(domain) > _MAX_DOMAIN:
            raise ValueError("domain too long")
        return Address(local, domain.lower())
    if len(text) > _MAX_LOCAL + 1 + _MAX_DOMAIN:
        raise ValueError("address too long")
    local, at, domain = text.rpartition("@")
    if not at:
        raise ValueError("no domain")
    return Address(_checked_local(local, utf8), _normalised_domain(domain))


def _checked_local(local: str, utf8: bool) -> str:
    if not local:
        raise ValueError("empty local part")
    if len(local) > _MAX_LOCAL:
        raise ValueError("local part too long")
    if not local.isascii():
        if not utf8:
            raise ValueError("local part isn't ASCII")
        return _checked_international(local)
    if _local(local) is None:
        raise ValueError("bad local part")
    return local


def _checked_international(local: str) -> str:
    # U+FFFD stands where the client's bytes were no UTF-8.
    if not local.isprintable() or "\ufffd" in local or _local_8(local) is None:
        raise ValueError("bad local part")
    if len(local.encode("utf-8")) > _MAX_LOCAL:
        raise ValueError("local part too long")
    if not unicodedata.is_normalized("NFC", local):
        raise ValueError("local part isn't in NFC")
    return local


def _normalised_domain(domain: str) -> str:
    if not domain:
        raise ValueError("empty domain")
    if domain[0] == "[":
        return _normalised_literal(domain)
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except UnicodeError:
            raise ValueError("bad international domain") from None
    if len(domain) > _MAX_DOMAIN:
        raise ValueError("domain too long")
    if _domain(domain) is None:
        raise ValueError("bad domain")
    return domain.lower()


def _normalised_literal(domain: str) -> str:
    """RFC 5321 4.1.3; general address literals of other kinds are refused."""
    if not domain.isascii() or domain[-1] != "]" or "%" in domain:
        raise ValueError("bad address literal")
    inner = domain[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise ValueError("bad address literal") from None
