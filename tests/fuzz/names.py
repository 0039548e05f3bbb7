"""Addresses, dates and parameters: what is taken is in one form, and reading it again gives the same."""

from __future__ import annotations

import re

from relay.message.address import parse
from relay.message.addresslist import parse_list, recipients_of, sender_of
from relay.message.date import date_of, parse_date
from relay.message.headers import HeaderBlock
from relay.message.received import received_line
from relay.message.values import Origin
from relay.smtp import commands, future, grammar, xtext
from relay.smtp.offers import Offers
from relay.smtp.reply import Reply, fit, without_status
from tests.fuzz.choices import bit, crlf, head, long
from tests.fuzz.server import listener

#: The last millisecond of the year 9999.
_END = 253402300799999
_MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def address(data: bytes) -> None:
    """An address that is taken is ASCII where it must be, bounded, and its own normal form."""
    (options,), rest = head(data, 1)
    utf8 = bit(options, 0)
    try:
        found = parse(_text(rest), utf8)
    except ValueError:
        return
    assert found.domain.isascii() and found.domain.isprintable() and " " not in found.domain
    assert found.domain == found.domain.lower().replace("[ipv6:", "[IPv6:")
    assert found.local.isprintable() and 0 < len(found.local.encode()) <= 64 and 0 < len(found.domain) <= 255
    assert utf8 or found.local.isascii()
    assert found.local.isascii() == found.key.isascii()
    assert parse(found.text, utf8) == found


def address_list(data: bytes) -> None:
    """A list, and a header with lists: at most as many as asked for, each an address."""
    (limit,), rest = head(data, 1)
    text = long(rest, 4096)
    try:
        found = parse_list(_text(text), limit)
        assert len(found) <= limit
        for each in found:
            assert parse(each.text) == each
    except ValueError:
        pass
    raw = crlf(text)
    block = HeaderBlock(raw if raw.endswith(b"\r\n") else raw + b"\r\n")
    try:
        assert parse(sender_of(block).text)
    except ValueError:
        pass
    try:
        assert len(recipients_of(block, limit)) <= limit
    except ValueError:
        pass


def date(data: bytes) -> None:
    """A date is told or it isn't, and one that is told can be told again."""
    (options,), rest = head(data, 1)
    when = int.from_bytes(rest[:6], "big", signed=False) % _END if bit(options, 0) else parse_date(_text(rest))
    if when is not None and 1000 <= when <= _END and (when >= 10**12 or not bit(options, 0)):
        assert parse_date(date_of(when)) == when // 1000 * 1000


def received(data: bytes) -> None:
    """Whatever a client has said of itself, the field is folded, bounded and ASCII."""
    words = _text(long(data)).split("|")
    words += [""] * (10 - len(words))
    line = received_line(Origin(*words[:7]), words[7], words[8], "id.001", words[9], 1_700_000_000_000)
    assert line.isascii() and line.endswith(b"\r\n") and line.startswith(b"Received: from ")
    first, *more = line[:-2].split(b"\r\n")
    assert all(each[:1] == b" " and each.strip() for each in more)
    assert all(len(each) < 998 and each.decode().isprintable() for each in (first, *more))


def parameters(data: bytes) -> None:
    """xtext and what is written in it (RFC 3461)."""
    text = _text(data)
    for read in (xtext.decode, xtext.envid, xtext.orcpt, xtext.notify):
        try:
            value = read(text)
        except ValueError:
            continue
        assert value.isascii() and value.isprintable()
        if read is not xtext.decode:
            assert read(value) == value
    try:
        decoded = xtext.decode(text)
    except ValueError:
        return
    encoded = re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", decoded)
    assert xtext.decode(encoded) == decoded


def release(data: bytes) -> None:
    """FUTURERELEASE: a time that is taken can be said again (RFC 4865)."""
    text = _text(data)
    try:
        assert 0 <= future.hold_for(text) <= 999_999_999
    except ValueError:
        pass
    try:
        when = future.hold_until(text)
    except ValueError:
        return
    if -62135596800 <= when <= _END // 1000 and when >= -30610224000:  # strftime leaves out zeros before 1000
        assert future.hold_until(future.date_time(when)) == when


def command(data: bytes) -> None:
    """A line of each command: an event or a reply, and what is in the event is safe to repeat."""
    (options, more, kind), rest = head(data, 3)
    section = listener(options, more & 0x7F)
    offers = Offers(section, bit(options, 1), _MECHANISMS, bit(options, 2), bit(options, 4))
    try:
        line = grammar.split(rest)
    except grammar.Malformed:
        return
    assert line.argument.isprintable() or not line.argument.isascii()
    grammar.is_http(line)
    argument = line.argument
    match kind % 5:
        case 0:
            given = commands.mail(argument, offers, section.max_size, lambda: 1_700_000_000_000)
            if not isinstance(given, Reply):
                assert given.envid.isascii() and given.hold >= 0
                assert given.sender is None or given.smtputf8 or given.sender.text.isascii()
        case 1:
            got = commands.rcpt(argument, offers, bit(options, 3))
            if not isinstance(got, Reply):
                assert got.orcpt.isascii() and (bit(options, 3) or got.address.text.isascii())
        case 2:
            said = commands.xclient(argument)
            if not isinstance(said, Reply):
                assert all(value.isascii() and value.isprintable() for value in said.attributes.values())
        case 3:
            commands.auth(argument, _MECHANISMS)
        case 4:
            chunk = commands.bdat(argument)
            assert chunk is None or 0 <= chunk.size < 10**18


def reply(data: bytes) -> None:
    """A reply that is made fit has lines that can be sent, wherever its text is from."""
    (code,), rest = head(data, 1)
    made = fit(Reply(200 + code, tuple(_text(long(rest)).split("|", 9))))
    for each in (made, without_status(made)):
        wire = each.encode()
        lines = wire[:-2].split(b"\r\n")
        assert wire.endswith(b"\r\n") and len(lines) == len(each.lines)
        for number, line in enumerate(lines, 1):
            assert len(line) <= 510 and line[3:4] == (b" " if number == len(lines) else b"-")
            assert line.decode("ascii").isprintable()
