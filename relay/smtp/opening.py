"""The commands that open a transaction: what is said of a message, as far as its host understands it."""

from __future__ import annotations

from typing import NamedTuple

from relay.smtp.ending import Ending, unfit
from relay.smtp.offered import Offered

#: Longest command in bytes (RFC 5321 4.5.3.1.4 asks for 512, extensions add to it).
MAX_COMMAND = 1000


class Opening(NamedTuple):
    """MAIL and RCPT, whole lines."""

    mail: bytes
    rcpt: bytes


def open_with(
    offered: Offered,
    secure: bool,
    sender: str,
    recipient: str,
    size: int,
    eight_bit: bool,
    *,
    utf8_header: bool,
    require_tls: bool,
    ret: str,
    envid: str,
    notify: str,
    orcpt: str,
) -> Opening | Ending:
    """What to say to a host that offers this; the ending of a message that it can't be offered.

    `secure`: over TLS. The others are those of `relay.smtp.client.Conversation.begin`.
    """
    if offered.max_size and size > offered.max_size:
        return unfit(f"5.3.4 Message of {size} bytes is too big for this host, it takes {offered.max_size}")
    if require_tls and not (secure and "REQUIRETLS" in offered.extensions):
        lacks = "does not offer REQUIRETLS" if secure else "can't be reached by TLS"
        return unfit(f"5.7.30 The message requires TLS all the way, and this host {lacks}")
    utf8 = utf8_header or not (sender.isascii() and recipient.isascii())
    if utf8 and not offered.utf8:
        return unfit("5.6.7 Address or header is not ASCII and this host does not take such (SMTPUTF8)")
    if eight_bit and not offered.eight_bit:
        return unfit("5.6.3 Message is 8-bit and this host does not take such (8BITMIME)")
    size_said = f" SIZE={size}" if "SIZE" in offered.extensions else ""
    body_said = " BODY=8BITMIME" if eight_bit else ""
    mail = f"MAIL FROM:<{sender}>{size_said}{body_said}"
    rcpt = f"RCPT TO:<{recipient}>"
    if utf8:
        mail += " SMTPUTF8"
    if require_tls:
        mail += " REQUIRETLS"
    if offered.dsn:
        mail += (ret and f" RET={ret}") + (envid and f" ENVID={envid}")
        rcpt += (notify and f" NOTIFY={notify}") + (orcpt and f" ORCPT={orcpt}")
    fits = (mail + rcpt).isprintable() and (utf8 or (mail + rcpt).isascii())
    if not fits or len(mail.encode()) > MAX_COMMAND or len(rcpt.encode()) > MAX_COMMAND:
        return unfit("5.1.3 Address can't be written in a command")
    return Opening(mail.encode() + b"\r\n", rcpt.encode() + b"\r\n")
