"""Whom an entry is about: one spelling for each mailbox and for each domain, whoever writes it down.

An address is `local@domain`, a domain has no @. Case doesn't tell mailboxes apart, not even in the local part, nor do
quotation marks that aren't needed (RFC 5321 4.1.2); domains are in A-labels, letters beyond ASCII in NFC.
"""

from __future__ import annotations

import re
import unicodedata

from relay.message.address import parse

#: What may stand without quotation marks, letters beyond ASCII among it.
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_bare = re.compile(rf"{_ATOM}(?:\.{_ATOM})*").fullmatch
_escaped = re.compile(r"\\(.)").sub


def address(text: str) -> str:
    """The mailbox that somebody has written.

    Raises:
        ValueError: it is none; the text is a short reason.
    """
    return mailbox(parse(unicodedata.normalize("NFC", text.strip()), utf8=True).text)


def domain(text: str) -> str:
    """The domain that somebody has written, with an @ before it or without. Raises ValueError."""
    return parse("a@" + text.strip().removeprefix("@")).domain.lower()


def mailbox(text: str) -> str:
    """The mailbox of a recipient, which is a checked address (relay.message.address)."""
    if text[:1] == '"':
        quoted, _, domain = text.rpartition("@")
        text = f"{_unquoted(quoted)}@{domain}"
    if text.isascii():
        return text.lower()
    local, _, domain = text.rpartition("@")
    return f"{_folded(local)}@{domain.lower()}"


def _folded(local: str) -> str:
    """In lower case and NFC. For a few letters one undoes the other, so it goes on until both hold."""
    while (folded := unicodedata.normalize("NFC", local.lower())) != local:
        local = folded
    return local


def _unquoted(local: str) -> str:
    """Without quotation marks where it may be, and without escapes that nothing needs."""
    inner = _escaped(r"\1", local[1:-1])
    if _bare(inner):
        return inner
    return '"' + re.sub(r'(["\\])', r"\\\1", inner) + '"'
