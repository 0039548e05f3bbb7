"""The commands that open a transaction: what is said of a message, as far as its host understands it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from relay.message.envelope import Recipient
from relay.smtp.ending import Ending, unfit
from relay.smtp.offered import Offered

#: Longest command in bytes (RFC 5321 4.5.3.1.4 asks for 512, extensions add to it).
MAX_COMMAND = 1000

_NOT_ASCII = "5.6.7 Address is not ASCII and this host does not take such (SMTPUTF8)"
_HEADER_NOT_ASCII = "5.6.9 Header is not ASCII and this host does not take such (SMTPUTF8)"
_UNWRITABLE = "5.1.3 Address can't be written in a command"


class Opening(NamedTuple):
    """MAIL, and RCPT for each recipient: whole lines. `places` are those of the recipients that have one, `unfit` are
    the others, which can't be offered."""

    mail: bytes
    rcpts: Sequence[bytes]
    places: Sequence[int]
    unfit: Mapping[int, Ending]


def open_with(
    offered: Offered,
    secure: bool,
    sender: str,
    recipients: Sequence[Recipient],
    size: int,
    eight_bit: bool,
    *,
    utf8_header: bool,
    require_tls: bool,
    ret: str,
    envid: str,
) -> Opening | Ending:
    """What to say to a host that offers this; the ending of a message that it can't be offered, for any of its
    recipients.

    `secure`: over TLS. The others are those of `relay.smtp.client.Conversation.begin`.
    """
    if offered.max_size and size > offered.max_size:
        return unfit(f"5.3.4 Message of {size} bytes is too big for this host, it takes {offered.max_size}")
    if require_tls and not (secure and "REQUIRETLS" in offered.extensions):
        status, lacks = ("5.7.30", "does not offer REQUIRETLS") if secure else ("5.7.10", "can't be reached by TLS")
        return unfit(f"{status} The message requires TLS all the way, and this host {lacks}")
    utf8 = utf8_header or not sender.isascii()
    if utf8 and not offered.utf8:
        return unfit(_HEADER_NOT_ASCII if sender.isascii() and _all_ascii(recipients) else _NOT_ASCII)
    rcpts: list[bytes] = []
    places: list[int] = []
    out: dict[int, Ending] = {}
    said_utf8 = utf8
    for place, recipient in enumerate(recipients):
        ascii = recipient.address.isascii()
        if not ascii and not offered.utf8:
            out[place] = unfit(_NOT_ASCII)
            continue
        rcpt = f"RCPT TO:<{recipient.address}>"
        if offered.dsn:
            rcpt += recipient.notify and f" NOTIFY={recipient.notify}"
            rcpt += recipient.orcpt and f" ORCPT={recipient.orcpt}"
        if not _fits(rcpt, utf8 or not ascii):
            out[place] = unfit(_UNWRITABLE)
            continue
        rcpts.append(rcpt.encode() + b"\r\n")
        places.append(place)
        said_utf8 |= not ascii
    if not rcpts and out[0].text == _NOT_ASCII:
        return _all_unfit(out)
    if eight_bit and not offered.eight_bit:
        return unfit("5.6.3 Message is 8-bit and this host does not take such (8BITMIME)")
    size_said = f" SIZE={size}" if "SIZE" in offered.extensions else ""
    body_said = " BODY=8BITMIME" if eight_bit else ""
    mail = f"MAIL FROM:<{sender}>{size_said}{body_said}"
    if said_utf8:
        mail += " SMTPUTF8"
    if require_tls:
        mail += " REQUIRETLS"
    if offered.dsn:
        mail += (ret and f" RET={ret}") + (envid and f" ENVID={envid}")
    if not _fits(mail, said_utf8):
        return unfit(_UNWRITABLE)
    return Opening(mail.encode() + b"\r\n", rcpts, places, out) if rcpts else _all_unfit(out)


def _all_ascii(recipients: Sequence[Recipient]) -> bool:
    return all(recipient.address.isascii() for recipient in recipients)


def _fits(command: str, utf8: bool) -> bool:
    return command.isprintable() and (utf8 or command.isascii()) and len(command.encode()) <= MAX_COMMAND


def _all_unfit(out: Mapping[int, Ending]) -> Ending:
    """None of the recipients can be offered: the first as the whole, the others apart."""
    return replace(out[0], apart={place: one for place, one in out.items() if place})
