"""The sinks of a configuration: each kind has its maker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList

from relay.config import schema
from relay.config.schema import Config
from relay.events import file
from relay.events.reader import Source
from relay.events.sink import Sink, Standing
from relay.events.taker import Means, Taker
from relay.shelf import Shelf

#: What makes the end of a sink. It opens nothing. Raises SecretUnusable; `name` is for that.
Maker = Callable[[str, schema.Sink, Means], Taker]
#: By kind.
MAKERS: Mapping[str, Maker] = {
    "file": file.maker,
}


class Events(Source, Protocol):
    """What of the store sinks need."""

    def shelf(self, name: str) -> Shelf: ...


class Sinks:
    """All of them."""

    def __init__(self, config: Config, events: Events, means: Means) -> None:
        """Opens nothing, reads no secret."""
        self._config = config
        self._events = events
        self._means = means
        self._sinks: list[Sink] = []

    def make(self) -> None:
        """Read what they need. Raises SecretUnusable: a start must not come so far as to open the queue."""
        for name, section in self._config.sinks.items():
            kinds = frozenset(section.events) or None
            self._add(name, section.kind, MAKERS[section.kind](name, section, self._means), kinds, section.batch)

    def start(self) -> None:
        """The store is open. Raises StoreError."""
        for sink in self._sinks:
            sink.start()

    def stop(self) -> Deferred[list[tuple[bool, None]]]:
        """Fires when the place of each is kept; the store has to be open until then."""
        return DeferredList([sink.stop() for sink in self._sinks], consumeErrors=True)

    def standings(self) -> Iterable[Standing]:
        """How each is doing, in the order of the file."""
        return [sink.standing() for sink in self._sinks]

    def _add(self, name: str, kind: str, taker: Taker, kinds: frozenset[str] | None, batch: int) -> None:
        events, means = self._events, self._means
        self._sinks.append(
            Sink(
                name,
                kind,
                taker,
                events,
                lambda: events.shelf("readers"),
                means.reactor,
                means.now,
                kinds=kinds,
                batch=batch,
            )
        )
