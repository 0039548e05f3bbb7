"""Events to a broker by AMQP 0-9-1, such as RabbitMQ: a message for each, kept there before it counts as taken.

Messages are persistent, and the broker confirms each of them when it has it in all queues that it leads to. One that
leads to none is refused: an exchange without a queue would lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError

from relay.config.schema import Sink
from relay.config.secret import password
from relay.events.datagrams import located
from relay.events.reader import NotTaken
from relay.events.shape import shape
from relay.events.taker import Means
from relay.message.event import Numbered

if TYPE_CHECKING:
    from relay.events.broker import Channel

PORT, TLS_PORT = 5672, 5671
#: Whom RabbitMQ knows when it is new.
GUEST = "guest"
#: Longest routing key (bytes).
_LONGEST = 255

_encode = msgspec.json.Encoder().encode


class Broker(NamedTuple):
    """Where it is, and as whom we come. `timeout`: for a batch, from the look-up to the last confirmation (seconds)."""

    host: str
    port: int
    tls: bool
    vhost: str
    user: str
    password: str
    timeout: float

    def __repr__(self) -> str:
        return f"Broker({self.where})"

    @property
    def where(self) -> str:
        """Without what it is to keep to itself."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp{'s' if self.tls else ''}:{host}:{self.port}"


class Letter(NamedTuple):
    """An event as it goes: its routing key, kind, number and time (seconds since the epoch), and its JSON."""

    key: str
    kind: str
    number: int
    time: int
    body: bytes


class Amqp:
    """The taker. One connection, which stays; after a failure it is another."""

    def __init__(self, broker: Broker, exchange: str, routing_key: str, means: Means) -> None:
        """`routing_key` may hold {kind} and {zone}."""
        self.where = f"{broker.where} {exchange}"
        self._broker = broker
        self._exchange = exchange
        self._routing_key = routing_key
        self._means = means
        self._channel: Channel | None = None

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """The broker has confirmed all of them when it fires. Fails with NotTaken, or why the host isn't found."""
        return Deferred.fromCoroutine(self._in_time(events))

    def stop(self) -> None:
        if self._channel is not None:
            self._channel.leave()
            self._channel = None

    async def _in_time(self, events: Sequence[Numbered]) -> int:
        where, seconds = self._broker.where, self._broker.timeout
        sending = Deferred.fromCoroutine(self._send(events))
        try:
            await sending.addTimeout(seconds, self._means.reactor)
        except defer.TimeoutError:
            raise NotTaken(f"{where}: not all is confirmed within {seconds:g} s") from None
        except NotTaken as error:
            raise NotTaken(f"{where}: {error}") from None
        return 0

    async def _send(self, events: Sequence[Numbered]) -> None:
        try:
            if self._channel is None or not self._channel.open:
                self._channel = await self._connect()
            await self._channel.publish([self._letter(one) for one in events])
        except BaseException:
            # What is under way on it would be told of in vain.
            if self._channel is not None:
                self._channel.drop()
                self._channel = None
            raise

    async def _connect(self) -> Channel:
        from relay.events.broker import Channel  # pika is there only where it is asked for.

        broker, means = self._broker, self._means
        address = (await located(broker.host, means))[0]
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        channel = Channel(broker, self._exchange, means)
        try:
            await connectProtocol(kind(means.reactor, address, broker.port, broker.timeout), channel)
            await channel.ready
        except BaseException as error:
            channel.drop()
            if isinstance(error, ConnectingCancelledError):
                raise CancelledError from None
            if isinstance(error, ConnectError):
                raise NotTaken(str(error)) from None
            raise
        return channel

    def _letter(self, one: Numbered) -> Letter:
        number, event = one
        key = self._routing_key.replace("{kind}", event.kind).replace("{zone}", event.zone)
        key = key.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
        return Letter(key, event.kind, number, event.time // 1000, _encode(shape(one)))


def login(name: str, section: Sink) -> tuple[str, str]:
    """As whom the sink of this name comes, and by which password. Raises SecretUnusable."""
    if not section.user:
        return GUEST, GUEST
    return section.user, password(("sinks", name), "password", section.password_file, section.password_variable)


def maker(name: str, section: Sink, means: Means) -> Amqp:
    """As [sinks] say. Raises SecretUnusable."""
    port = section.port or (TLS_PORT if section.tls else PORT)
    user, said = login(name, section)
    broker = Broker(section.host, port, section.tls, section.vhost, user, said, section.timeout)
    return Amqp(broker, section.exchange, section.routing_key, means)
