"""The sinks of a configuration: each kind has its maker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList

from relay.config import schema, urls
from relay.config.schema import Config
from relay.events import amqp, datagrams, file, webhook
from relay.events.bounceform import KINDS
from relay.events.bouncepost import BouncePost
from relay.events.bounceshelf import BounceShelf
from relay.events.reader import Source
from relay.events.sink import Sidings, Sink, Standing
from relay.events.taker import Means, Taker
from relay.shelf import Shelf

#: What makes the end of a sink. It opens nothing. Raises SecretUnusable; `name` is for that.
Maker = Callable[[str, schema.Sink, Means], Taker]
#: By kind.
MAKERS: Mapping[str, Maker] = {
    "webhook": webhook.maker,
    "file": file.maker,
    "udp": datagrams.zonemta_maker,
    "gelf": datagrams.gelf_maker,
    "amqp": amqp.maker,
}


#: Bounces that are read at a time.
_BOUNCES = 100


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
        self._bounces: BouncePost | None = None

    def make(self) -> None:
        """Read what they need. Raises SecretUnusable: a start must not come so far as to open the queue."""
        for name, section in self._config.sinks.items():
            kinds = frozenset(section.events) or None
            make = MAKERS[section.kind]
            first = make(name, section, self._means)
            # A file has one writer; elsewhere a replay has its own connections, and its troubles for itself.
            again = first if section.kind == "file" else make(name, section, self._means)
            self._add(name, section.kind, (first, again), kinds, section.batch)
        if self._config.bounces.url:
            self._bounces = posts = self._make_bounces()
            self._add("bounces", "bounces", (posts, posts), KINDS, _BOUNCES, posts)

    def start(self) -> None:
        """The store is open. Raises StoreError."""
        if self._bounces is not None:
            self._bounces.start()
        for sink in self._sinks:
            sink.start()

    def stop(self) -> Deferred[list[tuple[bool, None]]]:
        """Fires when the place of each is kept; the store has to be open until then."""
        return DeferredList([sink.stop() for sink in self._sinks], consumeErrors=True)

    def standings(self) -> Iterable[Standing]:
        """How each is doing, in the order of the file."""
        return [sink.standing() for sink in self._sinks]

    def get(self, name: str) -> Sink | None:
        """The one of that name."""
        return next((sink for sink in self._sinks if sink.name == name), None)

    def _make_bounces(self) -> BouncePost:
        section, events, means = self._config.bounces, self._events, self._means
        keys = webhook.signing_keys(("bounces",), section)
        shelf = BounceShelf(lambda: events.shelf("refused-bounces"), self._config.events.keep)
        url, private = urls.read(section.url), section.allow_private
        return BouncePost(url, keys, private, means.web, shelf, means.reactor, means.now)

    def _add(
        self,
        name: str,
        kind: str,
        takers: tuple[Taker, Taker],
        kinds: frozenset[str] | None,
        batch: int,
        sidings: Sidings | None = None,
    ) -> None:
        events, means = self._events, self._means
        self._sinks.append(
            Sink(
                name,
                kind,
                takers,
                events,
                events.shelf,
                means.reactor,
                means.now,
                kinds=kinds,
                batch=batch,
                sidings=sidings,
            )
        )
