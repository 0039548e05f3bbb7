"""The line of a zone, and where each lane stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay.dispatch.gates import Gate
from relay.dispatch.ledger import Limit
from relay.dispatch.limits import Way
from relay.dispatch.ring import Ring
from relay.queue.schedule import Work
from relay.suppression.entry import Stop
from relay.zone.zones import Zone


class Placed(NamedTuple):
    """Deliveries of one message that were given to a child together, and the gates of the address that they leave
    by."""

    works: tuple[Work, ...]
    gates: tuple[Gate, ...]


class Struck(NamedTuple):
    """A delivery that may not be attempted, as somebody is on the list of those who get no mail; None: that can't be
    told now."""

    work: Work
    stop: Stop | None


class Turn:
    """Where a lane stands, since when, and what has stopped it.

    Attributes:
        way: its limits; None while its site is looked up.
        ring: where it stands.
        gate: what it waits for; None in the line of its zone.
        since: when it came there (seconds of the clock).
        let_go: the gate that has let it go, until it has had its try.
        held_until: when the last hold that has stopped it here ended (ms since the epoch), 0: none has.
    """

    __slots__ = ("gate", "held_until", "let_go", "line", "ring", "since", "way")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.way: Way | None = None
        self.ring: Ring = line.ready
        self.gate: Gate | None = None
        self.since = 0.0
        self.let_go: Gate | None = None
        self.held_until = 0


class Line:
    """The lanes of one zone that wait for their turn.

    Attributes:
        ready: those whose target answered lately.
        trial: those whose target has yet to answer.
        full: what stops those that are ready, None for nothing; `trying` what stops the others.
    """

    __slots__ = ("full", "marked", "ready", "trial", "trying", "zone")

    def __init__(self, zone: Zone, weight: Callable[[str], float]) -> None:
        self.zone = zone
        self.ready = Ring(weight)
        self.trial = Ring(weight)
        self.full: Limit | None = None
        self.trying: Limit | None = None
        self.marked = False
