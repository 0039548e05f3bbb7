"""What a reply comes to: what to do about it, of which kind it is, and whose affair. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

#: What follows for the delivery: later again; the same, and less of everything by this way; never again.
Action = Literal["defer", "slowdown", "reject"]
#: Who could do something about it: those who write (and what their domain says of itself), the text, whoever it is
#: for, the host that said it, or we.
Fault = Literal["sender", "message", "recipient", "host", "relay"]
#: What a reply says against all mail from the local address that heard it.
Complaint = Literal["rate", "block", "blacklist"]

#: All kinds, in ZoneMTA's words, with whose affair they usually are and what that is in words.
CATEGORIES: dict[str, tuple[Fault, str]] = {
    "auth": ("sender", "The message does not pass SPF or DKIM, or needs a login"),
    "blacklist": ("relay", "The address it came from is on a blocklist"),
    "block": ("relay", "The host accepts no mail from where it came from"),
    "capacity": ("recipient", "The mailbox or the host is full"),
    "config": ("host", "The host is not set up to take this mail"),
    "dmarc": ("sender", "The message fails the DMARC policy of its domain"),
    "dns": ("host", "A name could not be found"),
    "envelope": ("sender", "An address of the envelope is not accepted"),
    "greylist": ("host", "The host wants to be asked again later"),
    "message": ("message", "The message is not accepted as it is"),
    "network": ("host", "The host has trouble to reach what it needs"),
    "other": ("host", "The host does not say why"),
    "policy": ("message", "The host's rules are against it"),
    "protocol": ("relay", "The conversation went wrong"),
    "rate": ("relay", "It was too much in too short a time"),
    "recipient": ("recipient", "The recipient does not exist, or takes no mail"),
    "sender": ("sender", "The sender's address is not accepted"),
    "spam": ("message", "The message is taken for spam"),
    "virus": ("message", "The message, or an attachment, is taken to be harmful"),
}
_COMPLAINTS: dict[str, Complaint] = {"blacklist": "blacklist", "block": "block"}


class Diagnosis(msgspec.Struct, frozen=True):
    """What one reply means.

    `code` is that of the reply, 0 if it has none; `status` its enhanced code (RFC 3463), "" if it has none;
    `message` says it for people. `file` and `line` are those of the rule, "" and 0 where none fitted.
    """

    action: Action
    category: str
    fault: Fault
    message: str
    code: int = 0
    status: str = ""
    file: str = ""
    line: int = 0

    @property
    def complaint(self) -> Complaint | Literal[""]:
        """What it says about all mail from our address: "blacklist", it is on a list that many read; "block", the
        host's policy is against it; "rate", too much of it; "", nothing."""
        known = _COMPLAINTS.get(self.category)
        return known if known is not None else "rate" if self.action == "slowdown" else ""
