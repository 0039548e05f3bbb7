"""All listeners of the relay: each with its door, and served here or by receivers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec.structs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from relay.access.access import Access
from relay.config.schema import Config, Listener
from relay.intake.frontdoor import FrontDoor
from relay.intake.receivers import Receivers
from relay.intake.submission import Intake
from relay.listener.door import Door
from relay.listener.entrance import entrance
from relay.listener.happening import HAPPENINGS
from relay.listener.listener import ListenerFactory
from relay.listener.room import TOO_BUSY
from relay.net.files import RESERVE
from relay.net.shared import hold
from relay.net.tls import ServerTls, TlsUnusable, server_tls


class ListenerUnusable(Exception):
    """A listener can't be opened; the text is one line for the operator."""


class Counts(Protocol):
    """What is counted of listeners; the metrics implement it."""

    clients: Callable[[], Mapping[str, int]]

    def announce_listener(self, listener: str, events: Iterable[str]) -> None: ...
    def listener_event(self, listener: str, event: str, count: int = 1) -> None: ...


#: Listens at an endpoint: what for, the endpoint, the factory, files that are left to others, last words there.
Listen = Callable[[str, str, IProtocolFactory, int, bytes], IListeningPort]


class Listeners:
    """Opened together, and stopped together."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        receivers: Receivers,
        counts: Counts,
        reactor: Any,
        now: Callable[[], int],
        returns: Callable[[Door], Door] = lambda front: front,
    ) -> None:
        """`returns` makes the door of a listener for what comes back, from that of any listener."""
        self._config = config
        self._intake = intake
        self._receivers = receivers
        self._counts = counts
        self._reactor = reactor
        self._now = now
        self._returns = returns
        self._factories: dict[str, ListenerFactory] = {}

    def open(self, access: Access, listen: Listen) -> None:
        """Raises ListenerUnusable, and what `listen` raises."""
        doors: dict[str, FrontDoor] = {}
        self._counts.clients = lambda: {name: door.inside for name, door in doors.items()}
        for name, section in self._config.listeners.items():
            section = msgspec.structs.replace(section, mechanisms=access.usable(section.mechanisms))
            door = doors[name] = FrontDoor(name, section, self._intake, access)
            self._counts.announce_listener(name, HAPPENINGS)
            factory = self._factories[name] = ListenerFactory(
                section,
                name,
                self._config.hostname,
                self._returns(door) if section.returns else door,
                self._reactor,
                partial(self._counts.listener_event, name),
                tls=self._tls(name, section),
                now=self._now,
            )
            # In plain words they would be noise to who expects TLS.
            farewell = b"" if section.tls == "implicit" else TOO_BUSY.encode()
            port = listen(f"listener {name}", section.endpoint, entrance(factory, self._reactor), RESERVE, farewell)
            if section.processes:
                hold(port)
                self._receivers.serve(name, section, door, port)

    def _tls(self, name: str, section: Listener) -> ServerTls | None:
        try:
            return server_tls(section, self._reactor.seconds)
        except TlsUnusable as error:
            raise ListenerUnusable(f"listener {name}: {error}") from None

    def stop(self) -> list[Deferred[Any]]:
        """Take no further message; each fires when the last client of one is gone."""
        return [maybeDeferred(factory.stop) for factory in self._factories.values()]
