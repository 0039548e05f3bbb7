"""From the words of MAIL and RCPT to the envelope that is kept with a message."""

from __future__ import annotations

from collections.abc import Callable

from relay.message.envelope import Envelope, Recipient
from relay.smtp.events import DataBegun, MailGiven


def envelope(begun: DataBegun, now: Callable[[], int]) -> Envelope:
    """`now` in ms since the epoch."""
    mail = begun.mail
    return Envelope(
        sender(mail),
        tuple([Recipient(rcpt.address.text, rcpt.notify, rcpt.orcpt) for rcpt in begun.recipients]),
        mail.smtputf8,
        mail.require_tls,
        mail.ret,
        mail.envid,
        _due(mail, now()) if mail.hold or mail.hold_until else 0,
    )


def sender(mail: MailGiven) -> str:
    """"" is the null sender."""
    return "" if mail.sender is None else mail.sender.text


def _due(mail: MailGiven, now: int) -> int:
    """When it may leave at the earliest, in ms since the epoch; 0 for at once."""
    due = now + mail.hold * 1000 if mail.hold else mail.hold_until * 1000
    return due if due > now else 0
