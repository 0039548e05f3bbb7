"""What the arguments of commands say, or the reply that says what is wrong with them."""

from __future__ import annotations

import ipaddress
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from relay.smtp import future, grammar, words, xtext
from relay.smtp.events import AuthBegun, MailGiven, RcptGiven, XclientGiven
from relay.smtp.grammar import Malformed
from relay.smtp.offers import XCLIENT, Offers
from relay.smtp.reply import Reply

#: More octets than any chunk has: what is as long as this is no number (RFC 3030 2).
_CHUNK_DIGITS = 18
_MAX_XCLIENT = 255
_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


class Chunk(NamedTuple):
    """BDAT: so many octets, and whether they are the last ones of the message."""

    size: int
    last: bool


class _Parameter(NamedTuple):
    """One that MAIL or RCPT may have: with which extension, which field of the event it becomes,
    what reads its value (raises ValueError), and what is said when it doesn't."""

    extension: str
    field: str
    read: Callable[[str], Any]
    refusal: Reply


def _flag(value: str) -> bool:
    if value:
        raise ValueError("it has no value")
    return True


def _body(value: str) -> bool:
    """RFC 6152; BINARYMIME (RFC 3030 3) isn't offered, so it is no value."""
    return ("7BIT", "8BITMIME").index(value.upper()) == 1


def _ret(value: str) -> str:
    value = value.upper()
    if value not in ("FULL", "HDRS"):
        raise ValueError("bad RET")
    return value


_MAIL = {
    "SIZE": _Parameter("SIZE", "size", grammar.size, words.BAD_SIZE),
    "BODY": _Parameter("8BITMIME", "eight_bit", _body, words.BAD_BODY),
    "SMTPUTF8": _Parameter("SMTPUTF8", "smtputf8", _flag, words.BAD_PARAMETER),
    "REQUIRETLS": _Parameter("REQUIRETLS", "require_tls", _flag, words.BAD_PARAMETER),
    "RET": _Parameter("DSN", "ret", _ret, words.BAD_RET),
    "ENVID": _Parameter("DSN", "envid", xtext.envid, words.BAD_ENVID),
    "HOLDFOR": _Parameter("FUTURERELEASE", "hold", future.hold_for, words.BAD_HOLD),
    "HOLDUNTIL": _Parameter("FUTURERELEASE", "hold_until", future.hold_until, words.BAD_HOLD),
    # Whom the client had it from (RFC 4954 5). It is believed of nobody, and so forgotten.
    "AUTH": _Parameter("AUTH", "", xtext.decode, words.BAD_PARAMETER),
}
_RCPT = {
    "NOTIFY": _Parameter("DSN", "notify", xtext.notify, words.BAD_NOTIFY),
    "ORCPT": _Parameter("DSN", "orcpt", xtext.orcpt, words.BAD_ORCPT),
}
_NONE: dict[str, str] = {}


def mail(argument: str, offers: Offers, max_size: int, now: Callable[[], int]) -> MailGiven | Reply:
    """`FROM:<path> SIZE=… BODY=…` (RFC 5321 4.1.1.2). `max_size` 0: no limit; `now` in ms since the epoch."""
    utf8 = not argument.isascii()
    if utf8 and "SMTPUTF8" not in offers.names:
        return words.NOT_ASCII
    try:
        path, rest = grammar.path(argument, "FROM:<")
        given = _parameters(rest) if rest else _NONE
        if utf8 and given is not None and "SMTPUTF8" not in given:
            return words.NOT_ASCII
        sender = grammar.mailbox(path, utf8)
    except Malformed:
        return words.BAD_SENDER
    if not rest:
        return MailGiven(sender, None, False)
    fields = _fields(given, _MAIL, offers.names)
    if isinstance(fields, Reply):
        return fields
    fields.pop("", None)
    mail = MailGiven(sender, fields.pop("size", None), fields.pop("eight_bit", False), **fields)
    if mail.require_tls and not offers.secure:
        return words.REQUIRETLS_NEEDS_TLS
    if mail.hold and mail.hold_until:
        return words.BAD_HOLD
    if mail.hold > offers.max_hold or (mail.hold_until and mail.hold_until - now() // 1000 > offers.max_hold):
        return words.HOLD_TOO_LONG
    if mail.size is not None and 0 < max_size < mail.size:
        return words.declared_too_big(max_size)
    return mail


def rcpt(argument: str, offers: Offers, utf8: bool) -> RcptGiven | Reply:
    """`TO:<path> NOTIFY=… ORCPT=…` (RFC 5321 4.1.1.3, RFC 3461 4.1, 4.2). `utf8`: MAIL has said SMTPUTF8."""
    if not utf8 and not argument.isascii():
        return words.NOT_ASCII
    try:
        path, rest = grammar.path(argument, "TO:<")
        address = grammar.mailbox(path, utf8)
    except Malformed:
        return words.BAD_RECIPIENT
    if address is None:
        return words.BAD_RECIPIENT
    if not rest:
        return RcptGiven(address)
    fields = _fields(_parameters(rest), _RCPT, offers.names)
    return fields if isinstance(fields, Reply) else RcptGiven(address, **fields)


def bdat(argument: str) -> Chunk | None:
    """`size LAST` (RFC 3030 2); None: so it can't be known where the next command is."""
    size, _, last = argument.partition(" ")
    if not (size.isascii() and size.isdigit()) or len(size) > _CHUNK_DIGITS:
        return None
    last = last.strip(" ").upper()
    return Chunk(int(size), bool(last)) if last in ("", "LAST") else None


def auth(argument: str, mechanisms: tuple[str, ...]) -> AuthBegun | Reply:
    """`mechanism initial-response` (RFC 4954 4)."""
    mechanism, _, initial = argument.partition(" ")
    mechanism = mechanism.upper()
    if not mechanism:
        return words.AUTH_SYNTAX
    if mechanism not in mechanisms:
        return words.UNKNOWN_MECHANISM
    if not initial:
        return AuthBegun(mechanism, None)
    if initial == "=":
        return AuthBegun(mechanism, b"")
    try:
        return AuthBegun(mechanism, decoded(initial))
    except ValueError:
        return words.BAD_BASE64


def decoded(text: str | bytes) -> bytes:
    """Base64 taken apart, to the letter. Raises ValueError."""
    if len(text) % 4:
        raise ValueError("incomplete base64")
    return a2b_base64(text, strict_mode=True)


def xclient(argument: str) -> XclientGiven | Reply:
    """`NAME=… ADDR=… …` (the attributes and their form are those of Postfix)."""
    found: dict[str, str] = {}
    for word in argument.split(" "):
        name, _, value = word.partition("=")
        name = name.upper()
        if name not in XCLIENT or name in found or not value or len(value) > _MAX_XCLIENT:
            return words.BAD_XCLIENT
        try:
            found[name] = "" if value.upper() in _UNKNOWN else _attribute(name, xtext.decode(value))
        except ValueError:
            return words.BAD_XCLIENT
    return XclientGiven(found)


def _attribute(name: str, value: str) -> str:
    """What an attribute says, checked by its kind. Raises ValueError."""
    match name:
        case "ADDR" | "DESTADDR":
            value = value[5:] if value[:5].upper() == "IPV6:" else value
            if "%" in value:
                raise ValueError("an address without a scope")
            return str(ipaddress.ip_address(value))
        case "NAME" | "HELO":
            if not grammar.is_helo_name(value):
                raise ValueError("no host name")
        case "PORT" | "DESTPORT":
            if not value.isdigit() or int(value) > 65535:
                raise ValueError("no port")
        case "PROTO":
            value = value.upper()
            if value not in ("SMTP", "ESMTP"):
                raise ValueError("no such protocol")
    return value


def _parameters(text: str) -> dict[str, str] | None:
    try:
        return grammar.parameters(text)
    except Malformed:
        return None


def _fields(
    given: dict[str, str] | None, known: Mapping[str, _Parameter], names: frozenset[str]
) -> dict[str, Any] | Reply:
    """The fields of the event, read from what was given; None was no list of parameters."""
    if given is None:
        return words.BAD_PARAMETER
    fields: dict[str, Any] = {}
    for key, value in given.items():
        parameter = known.get(key)
        if parameter is None or parameter.extension not in names:
            return words.UNKNOWN_PARAMETER
        try:
            fields[parameter.field] = parameter.read(value)
        except ValueError:
            return parameter.refusal
    return fields
