"""Who is reached, or not, together: the hosts of a site, or a fixed next hop."""

from __future__ import annotations

import math
from collections.abc import Callable

from relay.dispatch.gates import Gate
from relay.queue.schedule import Lane
from relay.zone.decision import Scope

#: How long an answer proves a target (seconds).
PROVEN_FOR = 600.0
#: Connections to one that has not answered lately, while few in all are silent; else one.
PER_SILENT_TARGET = 2
#: How long a transaction may have lasted whose host is silent, and the target still counts as one that answers
#: (seconds).
STALLED_AFTER = 30.0
#: How soon lanes ask again that were given none to one that answers, for too many elsewhere are silent (seconds).
AGAIN = 2.0


class Target(Gate):
    """One of them.

    Attributes:
        silent: connections to it whose peer has said nothing.
        crowded: whoever asked last got no connection to it because of those that are silent, here or elsewhere.
        slow: the last one to answer let us wait before it did.
        trying: lanes that stand in line to be tried.
        answered: when one last answered (seconds), `-inf` for never.
        stalled: when the transaction began that was the first to fall silent since one came forward (seconds),
            `inf` for none.
    """

    __slots__ = ("answered", "crowded", "silent", "slow", "stalled", "trying")

    def __init__(self, zone: str, name: str, weight: Callable[[str], float]) -> None:
        super().__init__("answer", Scope(zone=zone, site=name), weight)
        self.silent = 0
        self.crowded = False
        self.slow = False
        self.trying: dict[Lane, None] = {}
        self.answered = -math.inf
        self.stalled = math.inf

    def proven(self, now: float) -> bool:
        """Whether it answered lately, and doesn't greet only to let the transactions hang."""
        return self.answered > now - PROVEN_FOR and self.stalled > now - STALLED_AFTER

    @property
    def spares_a_place(self) -> bool:
        """Whether a connection to it needs none, since it would only wait. Two at a time: hundreds to one target, for
        they cost nothing here, is not what anybody asked for."""
        return self.slow and self.silent < PER_SILENT_TARGET

    def room(self, now: float) -> bool:
        return self.proven(now) or self.silent < PER_SILENT_TARGET

    def opens(self, now: float) -> float | None:
        """Who stands here though it answers, waits for silence elsewhere to end, too, which isn't told here."""
        return AGAIN if self.proven(now) else None

    def words(self) -> str:
        if self.crowded:
            return f"too many connections of the zone are silent for another to {self.scope.site}"
        return f"{self.scope.site} has yet to answer: {self.silent} connections to it are silent or being tried"
