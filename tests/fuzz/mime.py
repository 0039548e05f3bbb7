"""Mail described by clients: lists of addresses with names, and whole mail objects."""

from __future__ import annotations

import re

import msgspec

from relay.message.address import parse
from relay.mime.letter import letter, to_each
from relay.mime.mailbox import address_field, flat, mailboxes
from relay.mime.mailobject import MailObject, decoded
from relay.mime.unfit import Unfit, one_line
from tests.fuzz.choices import head, long

_lines = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*(?:\r\n[ \t]+[^ \t\r\n][^\r\n]*)*\r\n)*").fullmatch
_mail = msgspec.json.Decoder(MailObject).decode


def people(data: bytes) -> None:
    """A list that is taken can be written on clean lines, and names the same mailboxes when it is read again."""
    (limit,), rest = head(data, 1)
    try:
        found = mailboxes("to", one_line("to", long(rest, 4096).decode("utf-8", "replace")), limit)
        header = address_field("to", "To", found)
    except Unfit as unfit:
        assert unfit.field == "to" and unfit.text.isprintable()
        return
    addresses = [one.address for one in flat(found)]
    assert len(addresses) <= limit and all(parse(one.text, utf8=True) == one for one in addresses)
    assert _lines(header.encode()) is not None and max(map(len, header.encode().split(b"\r\n"))) <= 998
    again = mailboxes("to", header.replace("\r\n", "")[4:], limit)
    assert [one.address for one in flat(again)] == addresses


def mail(data: bytes) -> None:
    """A mail object makes a message with a clean header to addresses that are, or is refused by the name of a field."""
    try:
        given = decoded(lambda: _mail(long(data)))
        made = [letter(given, "seed", max_size=500_000, max_recipients=5)]
        if given.raw is None:
            made += to_each(given, "seed", max_size=500_000, max_recipients=5)
    except Unfit as unfit:
        assert unfit.field.isprintable() and unfit.text
        return
    for one in made:
        assert all(parse(address, utf8=True).text == address for address in (one.recipients or ()))
        assert not one.sender or parse(one.sender, utf8=True).text == one.sender
        assert one.utf8 or "".join((one.sender or "", *(one.recipients or ()))).isascii()
        if given.raw is None:
            header, _, _ = b"".join(one.pieces).partition(b"\r\n\r\n")
            assert _lines(header + b"\r\n") is not None, header
            assert max(map(len, header.split(b"\r\n"))) <= 998
            assert header.lower().count(b"\r\nmime-version:") == 1 and b"\0" not in header
