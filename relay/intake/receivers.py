"""Receiver children as the master sees them: each has a desk, which leads to its listener's door."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from relay.channel.briefing import ReceiverBriefing
from relay.channel.codec import FROM_RECEIVER
from relay.channel.frames import Pong
from relay.channel.reception import Heed as Heeded
from relay.children.child import Child
from relay.config.schema import Listener
from relay.intake.desk import Desk
from relay.intake.frontdoor import FrontDoor
from relay.intake.heed import Heed

#: The number under which a receiver finds the socket of its listener.
LISTENING = 3


class _Entrance(NamedTuple):
    """A listener that is served by receivers."""

    section: Listener
    door: FrontDoor
    port: Any


class Receivers:
    """The trade of a receiver (relay.children.roster): it takes mail for a listener."""

    place = "listener"
    mark = "r"
    module = "relay.reception"
    tongue = FROM_RECEIVER
    # Clients wait meanwhile, so one that has served them for a moment is replaced at once.
    soon = 1.0

    def __init__(
        self,
        briefing: Callable[[str, str, Listener], ReceiverBriefing],
        heed: Heed,
        counted: Callable[[str, str, int], None] = lambda listener, happening, count: None,
    ) -> None:
        """`briefing(listener, child id, its section)` makes what a new child is told; `heed` knows recipients who get
        no mail; `counted(listener, what, how often)` is told what happened to clients."""
        self._heed = heed
        self._watchers: dict[str, Callable[[bool], None]] = {}
        self._brief = briefing
        self._counted = counted
        self._entrances: dict[str, _Entrance] = {}
        self._desks: dict[str, Desk] = {}

    def serve(self, listener: str, section: Listener, door: FrontDoor, port: Any) -> None:
        """Receivers accept the clients of this listener on the socket of `port`."""
        self._entrances[listener] = _Entrance(section, door, port)

    def places(self) -> list[tuple[str, int]]:
        """The listeners, and how many receivers each has."""
        return [(name, entrance.section.processes) for name, entrance in self._entrances.items()]

    def briefing(self, listener: str, child: str) -> ReceiverBriefing:
        """What a new child is told."""
        return self._brief(listener, child, self._entrances[listener].section)

    def descriptors(self, listener: str) -> dict[int, int]:
        """The listening socket."""
        return {LISTENING: self._entrances[listener].port.fileno()}

    def joined(self, child: Child) -> None:
        """A child said hello."""
        entrance = self._entrances[child.place]
        self._desks[child.id] = Desk(
            child.place, entrance.section, entrance.door, child.send, partial(self._counted, child.place)
        )

        watcher = self._watchers[child.id] = lambda named: child.send(Heeded(named))
        self._heed.watch(watcher)

    def frame(self, child: Child, frame: Any) -> None:
        """What a child says. Raises BadFrame for what it may not say now."""
        if type(frame) is not Pong:
            self._desks[child.id].frame(frame)

    def ended(self, child: Child, crashed: bool) -> None:
        """It is surely gone: so are its clients, and messages whose text had not ended."""
        watcher = self._watchers.pop(child.id, None)
        if watcher is not None:
            self._heed.unwatch(watcher)
        desk = self._desks.pop(child.id, None)
        if desk is not None:
            desk.close()
