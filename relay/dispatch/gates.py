"""What a delivery may have to wait for: a number of connections, a rate, or whatever has been shut.

Lanes that a gate has stopped stand at it in a ring, and cost nothing while they do; when there
is room, the one whose turn it is goes back into the line of its zone. So that nobody who comes
later overtakes them, whoever comes to a gate with others waiting waits too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.dispatch.ring import Ring
from relay.zone.decision import Scope
from relay.zone.rates import Bucket

if TYPE_CHECKING:
    from relay.dispatch.connection import Connection
    from relay.queue.schedule import Lane

#: So long before its token is there a connection may be opened, which takes a few round trips (seconds).
_AHEAD = 1.0
#: The kind of the rates that kept connections don't ask.
NEW_CONNECTIONS = "new connections"
#: How long a gate is left alone that has room in a moment (seconds).
MOMENT = 0.02


class Gate(ABC):
    """One of them. `kind` is its name in answers and logs, `scope` what it counts for.

    Attributes:
        ring: the lanes that wait here.
        timer: the call that looks at it again.
    """

    __slots__ = ("__weakref__", "kind", "ring", "scope", "timer")

    def __init__(self, kind: str, scope: Scope, weight: Callable[[str], float]) -> None:
        self.kind = kind
        self.scope = scope
        self.ring = Ring(weight)
        self.timer: Any = None

    @abstractmethod
    def room(self, now: float) -> bool:
        """Whether one more may pass; `now` in seconds of a clock that never jumps."""

    def opens(self, now: float) -> float | None:
        """In how many seconds there may be room again; None: when something ends, which is told."""
        return None

    @abstractmethod
    def words(self) -> str:
        """The limit, for people."""


class Connections(Gate):
    """So many connections at a time; of those that are `open`, `idle` ones are given back for the asking, and
    those that are `closing` will soon be gone."""

    __slots__ = ("closing", "idle", "most", "open")

    def __init__(self, scope: Scope, most: int, weight: Callable[[str], float]) -> None:
        super().__init__("connections", scope, weight)
        self.most = most
        self.open = self.idle = self.closing = 0

    def full(self, now: float) -> bool:
        """Whether another may be opened only when one is gone."""
        return self.open >= self.most

    def above(self, now: float) -> int:
        """How many too many are open, since less is allowed than when they were."""
        return 0

    def yields(self, now: float, more: int = 0) -> bool:
        """Whether an idle one is to be closed: fewer are closing than are too many, or than those who wait here,
        and `more`, want."""
        wanted = self.above(now) or (len(self.ring) + more if self.full(now) else 0)
        return self.idle > 0 and self.closing < wanted

    def room(self, now: float) -> bool:
        return self.idle > 0 or not self.full(now)

    def opens(self, now: float) -> float | None:
        """Where there is room, in a moment: the lane that was let go may wait for something else. What closes
        is told."""
        return MOMENT if not self.full(now) or self.yields(now) else None

    def words(self) -> str:
        return f"{self.most} connections at a time ({self.scope}), {self.open} are open"


class Rate(Gate):
    """So much in a unit of time. Its token is spent just before MAIL, so that a host that hangs costs none.

    Attributes:
        pending: what connections that are being opened will want.
        parked: those that wait for it: have been answered or, of new connections, want to call another host.
        kept: of the lanes here those that have a kept connection, and could use a token at once; in no use of new
            connections, where all could.
        lanes_next: of the next token it is the lanes' turn, not that of the parked ones.
        ahead: so long before its token is there a connection may be opened; one of new connections is paid at once.
        wide: whether it is of many hosts, so that those that may never answer must not keep others from being called.
    """

    __slots__ = ("ahead", "bucket", "kept", "lanes_next", "parked", "pending", "wide")

    def __init__(
        self, kind: str, scope: Scope, bucket: Bucket, weight: Callable[[str], float], wide: bool
    ) -> None:
        super().__init__(kind, scope, weight)
        self.bucket = bucket
        self.ahead = 0.0 if kind == NEW_CONNECTIONS else _AHEAD
        self.pending = 0.0
        self.parked: OrderedDict[Connection, None] = OrderedDict()
        self.kept: dict[Lane, None] = {}
        self.lanes_next = False
        self.wide = wide

    def ready(self, now: float) -> bool:
        """Whether a lane's message, or a lane, may pass this moment: no connection has waited longer for that, or it
        is a lane's turn."""
        return (self.lanes_next or not self.parked) and self.bucket.ready(now)

    def ready_behind(self, now: float) -> bool:
        """Whether a connection that comes now may pass this moment: nobody has waited longer."""
        return not self.parked and not self.lanes_turn and self.bucket.ready(now)

    def has_token(self, now: float) -> bool:
        """Whether who has waited may pass this moment."""
        return self.bucket.ready(now)

    @property
    def lanes_turn(self) -> bool:
        """Whether connections that wait have to let a lane go before."""
        return self.lanes_next and (len(self.ring) if self.kind == NEW_CONNECTIONS else len(self.kept)) > 0

    def room(self, now: float) -> bool:
        """Whether a connection may be opened: its token is there, or will be when it is answered."""
        return self.bucket.ready(now, self.ahead, self.pending)

    def opens(self, now: float) -> float | None:
        """For lanes once before the token is there, for those that open a connection, and once when it is."""
        wait = self.bucket.wait(now)
        if wait > self.ahead > 0 and not self.parked:
            return wait - self.ahead + MOMENT
        return max(MOMENT if self.pending else 0.0, wait)

    def words(self) -> str:
        bucket = self.bucket
        return f"{bucket.amount:g} {self.kind} in {bucket.unit:g} s ({self.scope})"


class Shut(Gate):
    """Nothing passes until it is opened, for all that wait at once.

    Attributes:
        reason: why, for people.
        until: when it is looked at again (seconds of the clock), None: when that is told.
        since: when the other side has shut it (ms since the epoch), so that mail is given up that has waited here
            for as long as its retries would have lasted; 0: it isn't the other side.
    """

    __slots__ = ("reason", "since", "until")

    def __init__(
        self, kind: str, scope: Scope, reason: str, weight: Callable[[str], float], until: float | None = None
    ) -> None:
        super().__init__(kind, scope, weight)
        self.since = 0
        self.reason = reason
        self.until = until

    def room(self, now: float) -> bool:
        return self.until is not None and now >= self.until

    def opens(self, now: float) -> float | None:
        return None if self.until is None else max(0.0, self.until - now)

    def words(self) -> str:
        return self.reason
