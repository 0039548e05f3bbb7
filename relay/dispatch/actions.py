"""What an operator may do with a delivery: what it is called, to which rows it does anything, what it makes of them.
Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from msgspec.structs import replace

from relay.message.values import Delivery


class Verb(enum.StrEnum):
    """What is done to deliveries by hand."""

    SEND_NOW = "send-now"
    HOLD = "hold"
    RELEASE = "release"
    BOUNCE = "bounce"
    DELETE = "delete"
    MOVE = "move"


class Action(NamedTuple):
    """`reason` is for people, of a hold and of a bounce; `zone` is where to move it."""

    verb: Verb
    reason: str = ""
    zone: str = ""

    def applies(self, row: Delivery, now: int) -> bool:
        """Whether it changes anything about the row, at `now` (ms)."""
        if self.verb is Verb.SEND_NOW:
            return bool(row.held) or row.due > now
        if self.verb is Verb.HOLD:
            return not row.held
        if self.verb is Verb.RELEASE:
            return bool(row.held)
        return row.zone != self.zone if self.verb is Verb.MOVE else True

    def applied(self, row: Delivery, now: int) -> Delivery:
        """What becomes of a row that stays in the queue."""
        if self.verb is Verb.SEND_NOW:
            return replace(row, due=now // 1000 * 1000, held="")
        if self.verb is Verb.RELEASE:
            return replace(row, held="")
        if self.verb is Verb.MOVE:
            return replace(row, zone=self.zone)
        return row


class Done(enum.StrEnum):
    """What came of it: it is on disk; there was nothing to do; it is left alone, for a child has it in hand or its
    outcome is being written down; it isn't in the queue; its message can't be read."""

    DONE = "done"
    UNCHANGED = "unchanged"
    IN_HAND = "in hand"
    GONE = "gone"
    UNREADABLE = "unreadable"
