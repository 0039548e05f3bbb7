"""A whole message from a mail object: its header, its body, and who it is from and for. Pure.

Message-ID and Date that aren't there are added where all mail is taken; Bcc isn't written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from relay.message.date import date_of, parse_date
from relay.mime import content, headerlist, listheaders
from relay.mime.body import body
from relay.mime.field import folded, unstructured
from relay.mime.mailbox import Named, address_field, flat
from relay.mime.mailobject import MailObject
from relay.mime.people import people
from relay.mime.unfit import Nobody, TooLarge, Unfit, one_line

#: Without X-MSMail-Priority: filters hold mail with it for spam that passes itself off as Outlook's.
_PRIORITIES = {
    "high": "X-Priority: 1 (Highest)\r\nImportance: High\r\n",
    "normal": "",
    "low": "X-Priority: 5 (Lowest)\r\nImportance: Low\r\n",
}
#: Fields of addresses, and what a mail object calls them.
_ADDRESSES = ("From", "Sender", "To", "Cc", "Bcc", "Reply-To")
_KEYS = ("from", "sender", "to", "cc", "bcc", "replyTo")
_ids = re.compile(r"<[^<>\s]*>|[^<>\s]+").findall
_is_id = re.compile(r"<[!-;=?-~]{1,900}>").fullmatch
_begins_header = re.compile(rb"[!-9;-~]+[ \t]*:|\r\n").match
_is_date = re.compile(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? [+-]\d{4}").fullmatch
#: What is made of one request may have so many times the size of one message.
MOST_SIZES = 10
#: The last second of the year 9999 (ms).
_LAST = 253_402_300_799_000


class Letter(NamedTuple):
    """What is to be sent. `sender` "" is the null sender; None for it or for `recipients`: as the header says.
    `utf8`: an address in it goes beyond ASCII (RFC 6531). `pieces` are its text in order."""

    sender: str | None
    recipients: tuple[str, ...] | None
    utf8: bool
    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.pieces))


class _People(NamedTuple):
    """Those of `_ADDRESSES`."""

    from_: Sequence[Named]
    sender: Sequence[Named]
    to: Sequence[Named]
    cc: Sequence[Named]
    bcc: Sequence[Named]
    reply_to: Sequence[Named]


def letter(mail: MailObject, seed: str, *, max_size: int, max_recipients: int) -> Letter:
    """The message that `mail` stands for.

    Args:
        seed: letters and digits that nobody can guess, of which boundaries are made.
        max_size: of its text (bytes).

    Raises:
        TooLarge: it is.
        Unfit: it can't be written.
    """
    headers = headerlist.read("headers", mail.headers)
    named = _named(mail, headers, max_recipients)
    octets = content.raw("raw", mail.raw)
    if octets is not None:
        sender, recipients = _envelope(mail, named, max_recipients)
        if sender is None and any(flat(named.from_)):
            sender = _author(named)
        # Without a header it is all body, and that stays so when a line is put above it.
        pieces: tuple[bytes, ...] = (octets,) if _begins_header(octets) else (b"\r\n", octets)
        found = Letter(sender, recipients, _is_beyond(sender, recipients), pieces)
    else:
        head = _header(mail, headers, named)
        sender, recipients = _envelope(mail, named, max_recipients)
        if sender is None:
            sender = _author(named)
        if recipients is None:
            raise Nobody("to")
        entity = body(mail, seed)
        content_head = "MIME-Version: 1.0\r\n" + ("" if entity.header is None else entity.header + "\r\n")
        pieces = (head.encode(), content_head.encode(), *entity.pieces)
        # Names beyond ASCII are encoded there, addresses can't be.
        found = Letter(sender, recipients, not head.isascii() or _is_beyond(sender, recipients), pieces)
    check_size(found.size, max_size)
    return found


def check_size(size: int, most: int) -> None:
    """Raises TooLarge: more bytes than may be."""
    if size > most:
        raise TooLarge("", f"It would have {size} bytes, and may have {most}")


def to_each(mail: MailObject, seed: str, *, max_size: int, max_recipients: int) -> list[Letter]:
    """The same to each one in `to` alone, who sees nobody else; what is the same in all is there once. Raises Unfit."""
    whole = letter(mail, seed, max_size=max_size, max_recipients=max_recipients)
    headers = headerlist.read("headers", mail.headers)
    named = _named(mail, headers, max_recipients)
    letters: dict[str, Letter] = {}
    for one in flat(named.to):
        head = _header(mail, headers, named._replace(to=(one,), cc=())).encode()
        letters[one.address.key] = whole._replace(recipients=(one.address.text,), pieces=(head, *whole.pieces[1:]))
    check_size(sum(one.size for one in letters.values()), MOST_SIZES * max_size)
    return list(letters.values())


def _named(mail: MailObject, headers: Sequence[headerlist.Given], most: int) -> _People:
    """Who is named in the header: as the mail says, else as its headers do."""
    given = (mail.from_, mail.sender, mail.to, mail.cc, mail.bcc, mail.reply_to)
    found = []
    for name, key, value in zip(_ADDRESSES, _KEYS, given, strict=True):
        named = people(key, value, most)
        for one in headers if not named else ():
            if one.key == name.lower():
                named += people(one.field, one.text, most)
        found.append(named)
    named_in_all = _People(*found)
    if sum(1 for field in (named_in_all.to, named_in_all.cc, named_in_all.bcc) for _ in flat(field)) > most:
        raise Unfit("to", f"more than {most} recipients")
    return named_in_all


def _envelope(mail: MailObject, named: _People, most: int) -> tuple[str | None, tuple[str, ...] | None]:
    """From whom and to whom; None where neither the envelope nor To, Cc and Bcc say so."""
    envelope = mail.envelope
    sender: str | None = None
    recipients = [one for field in (named.to, named.cc, named.bcc) for one in flat(field)]
    if envelope is not None:
        if envelope.from_ is not None:
            senders = list(flat(people("envelope.from", envelope.from_, most)))
            sender = senders[0].address.text if senders else ""
        stated = (("to", envelope.to), ("cc", envelope.cc), ("bcc", envelope.bcc))
        if any(value is not None for _, value in stated):
            recipients = [one for key, value in stated for one in flat(people(f"envelope.{key}", value, most))]
            if not recipients:
                raise Nobody("envelope.to")
    # Given twice, in whatever case: one delivery, and the later spelling counts.
    once = {one.address.key: one.address.text for one in recipients}
    if len(once) > most:
        raise Unfit("envelope.to", f"more than {most} recipients")
    return sender, tuple(once.values()) or None


def _author(named: _People) -> str:
    """The sender where the envelope has none: From, or Sender where From names several."""
    authors = list(flat(named.from_))
    if len(authors) == 1:
        return authors[0].address.text
    senders = list(flat(named.sender))
    if len(senders) != 1:
        raise Unfit("sender", "expected one address, as from has several")
    return senders[0].address.text


def _is_beyond(sender: str | None, *texts: tuple[str, ...] | None) -> bool:
    """Whether an address goes beyond ASCII."""
    return not "".join((sender or "", *(one for text in texts for one in text or ()))).isascii()


def _header(mail: MailObject, headers: Sequence[headerlist.Given], named: _People) -> str:
    """Its lines, but for those about the content. What the mail says of a field counts, whatever its headers say."""
    if not any(flat(named.from_)):
        raise Unfit("from", "expected the address of the author")
    lines = [
        address_field(key, name, field)
        for name, key, field in zip(_ADDRESSES, _KEYS, named, strict=True)
        if field and name != "Bcc"
    ]
    lines += (
        unstructured("subject", "Subject", mail.subject or ""),
        folded("messageId", "Message-ID", _identified("messageId", mail.message_id, 1)),
        folded("date", "Date", _date(mail.date)),
        folded("inReplyTo", "In-Reply-To", _identified("inReplyTo", mail.in_reply_to)),
        folded("references", "References", _identified("references", mail.references)),
        unstructured("xMailer", "X-Mailer", mail.x_mailer if isinstance(mail.x_mailer, str) else ""),
        _priority(mail),
        listheaders.lines("list", mail.list_) if mail.list_ else "",
    )
    if headers:
        ours = {line.partition(":")[0].lower() for whole in lines for line in whole.split("\r\n") if line[:1].strip()}
        ours |= {name.lower() for name in _ADDRESSES}
        lines += [one.line() for one in headers if one.key not in ours]
    return "".join(lines)


def _identified(field: str, given: str | list[str] | None, most: int = 1000) -> str:
    """Message ids, each in its angle brackets (RFC 5322 3.6.4)."""
    if not given:
        return ""
    text = one_line(field, " ".join(given) if isinstance(given, list) else given)
    found = [one if one.startswith("<") else f"<{one.rstrip('>')}>" for one in _ids(text)]
    if len(found) > most or not all(map(_is_id, found)):
        raise Unfit(field, "expected a message id such as <1@example.com>" + (", or several" if most > 1 else ""))
    return " ".join(found)


def _date(given: str | int | float | None) -> str:
    """A date as mail has it, from that, from ISO 8601, or from milliseconds since 1970."""
    if given is None or given == "":
        return ""
    if isinstance(given, str):
        text = one_line("date", given)
        if _is_date(text) and parse_date(text) is not None:
            return text
        when = _iso(text)
        when = parse_date(text) if when is None else when
    else:
        when = int(given) if 0 <= given <= _LAST else None
    if when is None or not 0 <= when <= _LAST:
        raise Unfit("date", "expected a date such as 2026-11-27T15:00:00Z or Fri, 27 Nov 2026 15:00:00 +0000")
    return date_of(when)


def _iso(text: str) -> int | None:
    try:
        found = datetime.fromisoformat(text)
        return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _priority(mail: MailObject) -> str:
    if not mail.priority:
        return ""
    try:
        return _PRIORITIES[mail.priority.strip().lower()]
    except KeyError:
        raise Unfit("priority", "expected high, normal or low") from None
