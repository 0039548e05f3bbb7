"""Who is told what became of a message: everybody, but for these. Pure.

Automatic mail is answered by nothing automatic (RFC 3834 2, RFC 5321 6.1), so there is no notice about a notice, and no
loop. What clients ask for counts too (RFC 3461 4.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

from relay.bounce.fate import Kind
from relay.message.headers import HeaderBlock
from relay.message.trail import hops
from relay.message.values import Delivery, Message

#: More Received fields than this are a loop, most likely.
MOST_HOPS = 25

_daemon = re.compile(r"(?:^|[<\s,;:])mailer-daemon@", re.IGNORECASE).search
_separators = re.compile(r"[\s,;]+").split
#: What is told when the client has asked for nothing (RFC 3461 4.1).
_UNASKED: frozenset[Kind] = frozenset(("failure", "delay"))


class Case(NamedTuple):
    """One delivery that something has become of. `by_http`: it goes by HTTP; `silent`: its zone tells nobody;
    `silent_listeners`: nor is anybody told who came in there."""

    kind: Kind
    message: Message
    delivery: Delivery
    by_http: bool = False
    silent: bool = False
    silent_listeners: Collection[str] = ()


def why_none(case: Case) -> str:
    """Why the sender isn't told: the first reason that holds, in a few words that are always the same; "": they are."""
    for reason, holds in _ENVELOPE:
        if holds(case):
            return reason
    block = HeaderBlock(case.message.headers)
    for reason, told in _HEADER:
        if told(block):
            return reason
    return ""


def why_unreported(case: Case) -> str:
    """Why its end isn't reported to `bounces.url`; "": it is. The reasons are among those of `why_none`: who was not
    asked and who lets others see to its senders may still want to know."""
    for reason, holds in _ENVELOPE:
        if reason not in _MAIL_ALONE and holds(case):
            return reason
    block = HeaderBlock(case.message.headers)
    return next((reason for reason, told in _HEADER if reason not in _MAIL_ALONE and told(block)), "")


def wants(kind: Kind, notify: str) -> bool:
    """Whether NOTIFY asks for it."""
    return kind.upper() in notify.split(",") if notify else kind in _UNASKED


def _is_daemon(case: Case) -> bool:
    return case.message.sender.rpartition("@")[0].lower() == "mailer-daemon"


def _is_suppressed(block: HeaderBlock) -> bool:
    values = block.all("X-Auto-Response-Suppress")
    return any(word.lower() == "all" for value in values for word in _separators(value))


def _is_automatic(block: HeaderBlock) -> bool:
    words = [value.partition(";")[0].strip().lower() for value in block.all("Auto-Submitted")]
    return not {"auto-generated", "auto-replied"}.isdisjoint(words)


def _is_report(block: HeaderBlock) -> bool:
    return (block.get("Content-Type") or "").lower().startswith("multipart/report")


_ENVELOPE: tuple[tuple[str, Callable[[Case], bool]], ...] = (
    ("null sender", lambda case: not case.message.sender),
    ("mailer-daemon", _is_daemon),
    ("not asked for", lambda case: not wants(case.kind, case.delivery.notify)),
    ("by HTTP", lambda case: case.by_http),
    ("zone", lambda case: case.silent),
    ("listener", lambda case: case.message.origin.listener in case.silent_listeners),
)
_HEADER: tuple[tuple[str, Callable[[HeaderBlock], bool]], ...] = (
    ("from mailer-daemon", lambda block: any(_daemon(value) for value in block.all("From"))),
    ("X-Auto-Response-Suppress", _is_suppressed),
    ("Auto-Submitted", _is_automatic),
    ("a report itself", _is_report),
    ("too many hops", lambda block: hops(block) > MOST_HOPS),
)
#: What only mail to the sender is not sent for.
_MAIL_ALONE = frozenset(("not asked for", "zone", "listener", "too many hops"))
#: All of them, and those that are found out elsewhere: it would be one too many for this sender (relay.bounce.ration);
#: the sender has no address that mail can go to; the text could not be made.
REASONS = (*(reason for reason, _ in (*_ENVELOPE, *_HEADER)), "too many", "no way back", "fault")
