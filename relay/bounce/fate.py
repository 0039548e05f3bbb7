"""What a notice tells of: how it went with a delivery, in the words of RFC 3464. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from relay.bounce.said import said
from relay.message.values import Outcome

#: The three that a client can ask for (RFC 3461 4.1), by its words.
Kind = Literal["failure", "delay", "success"]
#: RFC 3464 2.3.3. "relayed": to a host that tells no more of it.
Action = Literal["failed", "delayed", "relayed", "delivered"]

#: What is said where nobody has given a status (RFC 3463), by the kind.
_STATUS: dict[Kind, str] = {"failure": "5.0.0", "delay": "4.0.0", "success": "2.0.0"}
#: It was tried for as long as it may be.
_EXPIRED = "4.4.7"


class Fate(NamedTuple):
    """One for a notice.

    `status` is an enhanced code (RFC 3463). `host` is the other side, "" when there was none, and `reply` what was said
    at last: `spoken`, by the host in SMTP, else by us. `until` is when it will be given up (ms since the epoch), 0
    where it won't be tried again. `expired`: the tries are used up.
    """

    kind: Kind
    action: Action
    status: str
    host: str
    reply: str
    spoken: bool
    until: int = 0
    expired: bool = False


def failed(outcome: Outcome, expired: bool) -> Fate:
    """It is given up; `expired`: for there were too many failures, or it took too long."""
    status = _EXPIRED if expired else _status("failure", outcome)
    return _fate("failure", "failed", status, outcome, expired=expired)


def delayed(outcome: Outcome, until: int) -> Fate:
    """It was tried in vain for some time, and will be until `until` (ms since the epoch)."""
    return _fate("delay", "delayed", _status("delay", outcome), outcome, until=until)


def passed_on(outcome: Outcome, to_mailbox: bool) -> Fate:
    """The host has taken it and will tell no more of it; `to_mailbox`: that was the end of its way."""
    action: Action = "delivered" if to_mailbox else "relayed"
    return _fate("success", action, _status("success", outcome), outcome)


def _fate(
    kind: Kind, action: Action, status: str, outcome: Outcome, until: int = 0, expired: bool = False
) -> Fate:
    return Fate(kind, action, status, outcome.host, outcome.response, outcome.code > 0, until, expired)


def _status(kind: Kind, outcome: Outcome) -> str:
    """The one that was given, with the class of what follows (RFC 3463 2): what rules make of a reply may be another
    end than its code says, and why stays as it is."""
    given, usual = said(outcome.response).status, _STATUS[kind]
    if not given or (kind == "success" and given[0] != usual[0]):
        return usual
    return usual[0] + given[1:]
