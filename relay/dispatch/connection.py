"""A connection of a child as the ledger knows it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from relay.dispatch.gates import Rate
from relay.dispatch.leaving import Leaving
from relay.dispatch.limits import Scoped, Way
from relay.zone.pool import Local

if TYPE_CHECKING:
    from relay.dispatch.capacity import Capacity


class State(enum.IntEnum):
    """What a connection is doing."""

    TRYING = 0  # connecting to a target that has not answered lately
    OPENING = 1  # connecting to a target that has
    WAITING = 2  # answered, not yet told to go
    SENDING = 3  # in a transaction
    QUIET = 4  # its peer has said nothing for a while, or is slow
    IDLE = 5  # kept open for more
    PARKED = 6  # answered, waits for its token
    CLOSING = 7  # at its end, but its socket may still be there


class Connection:
    """One line of the ledger.

    Attributes:
        leaving: what it leaves by, with the limits of that.
        way: the limits of what is being sent, or was last.
        called: when both of its addresses have paid for its call (seconds), None: the one that is used has.
        faces: the address of the host that it has reached or, after the first, calls; "" before.
        fresh: its target had yet to answer when it was opened, and it hasn't brought a delivery to its end.
        slow: its host, new to us or known to be slow, lets us wait before it answers, and has with each delivery since.
        lagged: it has let us wait with what it does now: answer, or take this delivery.
        pending: rates that count on it to want so much when it has been opened.
        size: of the message that it has or was opened for (bytes).
        sent: deliveries it was given.
        recipients: those of the message that it has whose outcome isn't told yet.
        paid: for how many of them its rates have been paid; 0 before the message is begun.
        load: how many there were when it was begun, less those that were left behind.
        apart: domains whose recipients it can't take along, its child has found.
        most: so many recipients its host takes at a time, if that has shown; else 0.
        resumed: it has waited for its token, and nobody is before it.
        greeted: its host has said something.
        warm: addresses in warm-up against which its message is counted for each recipient, each with the day.
        began: when the last of them (seconds).
        kept: the child keeps it open for more, once it has rested.
        settled: it has begun with the host that it faces, and calls no other without being told.
        gone: the child has said that its socket is.
    """

    __slots__ = (
        "apart", "before_quiet", "began", "called", "child", "faces", "fresh", "gone", "greeted", "kept", "lagged",
        "leaving", "load", "most", "number", "paid", "pending", "recipients", "resumed", "sent", "settled", "size",
        "slow", "state", "target", "warm", "way",
    )  # fmt: skip

    def __init__(self, number: int, child: Capacity, way: Way, leaving: Leaving) -> None:
        self.number = number
        self.child = child
        self.way = way
        self.target = way.target
        self.leaving = leaving
        self.called: float | None = None
        self.faces = ""
        self.fresh = self.slow = self.lagged = False
        self.pending: tuple[tuple[Rate, float], ...] = ()
        self.kept = self.gone = self.resumed = self.settled = False
        self.recipients = 1
        self.paid = self.load = self.most = 0
        self.greeted = False
        self.apart: set[str] = set()
        self.warm: tuple[tuple[str, int], ...] = ()
        self.size = 0
        self.sent = 0
        self.began = 0.0
        self.state = State.TRYING
        self.before_quiet = State.TRYING

    @property
    def local(self) -> Local:
        """Its local addresses; with whom it reaches, they say what else may be sent on it."""
        return self.leaving.local

    @property
    def address(self) -> Scoped:
        """The limits of its local address."""
        return self.leaving.limits

    @property
    def domain(self) -> str:
        """The recipient domain that it counts for."""
        return self.way.domain
