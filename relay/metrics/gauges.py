"""What is true of the relay at the moment of a scrape. Each callable is asked then, and costs mail nothing before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from prometheus_client.core import Metric

from relay.metrics.family import Key, counter, gauge


class Counted(Protocol):
    """Deliveries of a zone (relay.queue.store.ZoneCount): due now, due later, put aside."""

    @property
    def queued(self) -> int: ...
    @property
    def deferred(self) -> int: ...
    @property
    def held(self) -> int: ...


class Staffed(Protocol):
    """The children in one place (relay.children.roster.Staff): to be, here, crashed since the start."""

    @property
    def wanted(self) -> int: ...
    @property
    def here(self) -> int: ...
    @property
    def crashes(self) -> int: ...


class Room(NamedTuple):
    """The disk of the queue: whether it can be written, whether mail is taken; bytes free, and needed for that."""

    writable: bool
    accepting: bool
    free: int
    needed: int


class Gauges:
    """All of them."""

    def __init__(self) -> None:
        self.zones: Callable[[], Mapping[str, Counted]] = dict
        #: For how long the delivery has been due that has been longest, by zone (seconds).
        self.overdue: Callable[[], Mapping[str, float]] = dict
        #: Connections to hosts, by zone and what they do.
        self.connections: Callable[[], Mapping[tuple[str, str], int]] = dict
        #: Children, by what they are and where.
        self.staff: Callable[[], Mapping[tuple[str, str], Staffed]] = dict
        #: Paths and sites with trouble, by what that is; and for how long that path has which has longest (seconds).
        self.backoffs: Callable[[], tuple[Mapping[str, int], float]] = lambda: ({}, 0.0)
        self.room: Callable[[], Room] = lambda: Room(True, True, 0, 0)
        #: Events that are kept.
        self.events: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        """The families, as of now."""
        sizes: dict[Key, float] = {}
        for zone, count in self.zones().items():
            sizes.update({(zone, state): getattr(count, state) for state in ("queued", "deferred", "held")})
        yield gauge("zonerelay_deliveries", "Deliveries in the queue", ("zone", "state"), sizes)
        what = "How long the delivery has been due that has been longest"
        yield gauge("zonerelay_overdue_seconds", what, ("zone",), self.overdue())
        what = "Connections to hosts, by what they do"
        yield gauge("zonerelay_connections", what, ("zone", "state"), self.connections())
        yield from self._of_children()
        backoffs, longest = self.backoffs()
        yield gauge("zonerelay_backoffs", "Trouble with sites that is in force", ("kind",), backoffs)
        what = "For how long a site has taken nothing from an address, where it has been longest"
        yield gauge("zonerelay_backoff_longest_seconds", what, (), {(): longest})
        yield from self._of_disk()

    def _of_children(self) -> Iterator[Metric]:
        labels, staff = ("trade", "place"), self.staff()
        here = {place: one.here for place, one in staff.items()}
        yield gauge("zonerelay_children", "Child processes at work", labels, here)
        wanted = {place: one.wanted for place, one in staff.items()}
        yield gauge("zonerelay_children_wanted", "Child processes there are to be", labels, wanted)
        crashes = {place: one.crashes for place, one in staff.items()}
        yield counter("zonerelay_child_crashes", "Child processes that ended unasked", labels, crashes)

    def _of_disk(self) -> Iterator[Metric]:
        room = self.room()
        for name, what, value in (
            ("zonerelay_queue_writable", "1 while the queue can be written", int(room.writable)),
            ("zonerelay_queue_accepting", "1 while there is room for more mail", int(room.accepting)),
            ("zonerelay_disk_free_bytes", "Free on the disk of the queue", room.free),
            ("zonerelay_disk_min_free_bytes", "Less than so much free, and no mail is taken", room.needed),
            ("zonerelay_events_kept", "Events that are kept", self.events()),
        ):
            yield gauge(name, what, (), {(): value})
