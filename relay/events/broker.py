"""A connection to a broker of AMQP with a channel on which each message is confirmed; pika speaks, over our TLS."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.exceptions import AMQPError, ChannelClosed, NackError, UnroutableError
from twisted.internet import protocol
from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.events.amqp import Broker, Letter
from relay.events.reader import NotTaken
from relay.events.taker import Handshake, Means

#: Seconds between signs of life.
_HEARTBEAT = 30
_LONGEST = 300

# What pika logs of its own accord would stand on standard error; what matters comes as failures.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)


@implementer(IHandshakeListener)
class Channel(protocol.Protocol):
    """See the module.

    Attributes:
        ready: fires when something can be published; fails with NotTaken when it can't.
        open: it is so now.
    """

    def __init__(self, broker: Broker, exchange: str, means: Means) -> None:
        self.ready: Deferred[None] = Deferred()
        self.open = False
        self._broker = broker
        self._exchange = exchange
        self._means = means
        self._handshake: Handshake | None = None
        self._connection: TwistedProtocolConnection | None = None
        self._channel: Any = None

    # -- the connection

    def connectionMade(self) -> None:
        if not self._broker.tls:
            self._begin()
            return
        try:
            self._handshake = self._means.handshake(self._broker.host)
        except Exception as error:
            self._fail(str(error))
        else:
            self.transport.startTLS(self._handshake)  # type: ignore[union-attr]

    def handshakeCompleted(self) -> None:
        """The broker has to prove who it is before it hears a password."""
        assert self._handshake is not None
        distrust = self._handshake.distrust()
        if distrust:
            self._fail(distrust)
        else:
            self._begin()

    def dataReceived(self, data: bytes) -> None:
        if self._connection is None:
            return
        try:
            self._connection.dataReceived(data)
        except Exception as error:
            self._fail(f"no AMQP: {_words(error)}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connectionLost(reason)
        self._over(NotTaken("the connection was lost"))

    def leave(self) -> None:
        """Take leave of the broker."""
        self.open = False
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        if self.transport is not None:
            self.transport.loseConnection()

    def drop(self) -> None:
        """Hang up, if there is a connection."""
        self.open = False
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    # -- the channel

    async def publish(self, letters: Sequence[Letter]) -> None:
        """All of them are confirmed then. Raises NotTaken; some may be."""
        confirmed = [
            self._channel.basic_publish(self._exchange, letter.key, letter.body, _properties(letter), mandatory=True)
            for letter in letters
        ]
        try:
            await DeferredList(confirmed, fireOnOneErrback=True, consumeErrors=True)
        except FirstError as error:
            raise NotTaken(self._reason(error.subFailure)) from None

    # -- inside

    def _begin(self) -> None:
        broker = self._broker
        connection = self._connection = TwistedProtocolConnection(
            pika.ConnectionParameters(
                host=broker.host,
                virtual_host=broker.vhost,
                credentials=pika.PlainCredentials(broker.user, broker.password, erase_on_connect=True),
                heartbeat=_HEARTBEAT,
                client_properties={"product": "Zonerelay", "connection_name": self._means.hostname},
            ),
            self._means.reactor,
        )
        assert connection.ready is not None
        opened = connection.ready.addCallback(lambda _: Deferred.fromCoroutine(self._open(connection)))
        connection.makeConnection(self.transport)
        opened.addCallbacks(lambda _: self._over(None), self._refused)

    async def _open(self, connection: TwistedProtocolConnection) -> None:
        channel = self._channel = await connection.channel()
        channel.on_closed.addBoth(self._closed)
        await channel.confirm_delivery()

    def _refused(self, failure: Failure) -> None:
        self._fail(self._reason(failure))

    def _closed(self, _: object) -> None:
        self.open = False

    def _fail(self, text: str) -> None:
        self.drop()
        self._over(NotTaken(text))

    def _over(self, problem: NotTaken | None) -> None:
        if self.ready.called:
            return
        if problem is None:
            self.open = True
            self.ready.callback(None)
        else:
            self.ready.errback(problem)

    def _reason(self, failure: Failure) -> str:
        error = failure.value
        if isinstance(error, UnroutableError):
            return f"the exchange {self._exchange!r} has no queue for {_unrouted(error)}"
        if isinstance(error, NackError):
            return "the broker could not keep a message"
        if isinstance(error, ChannelClosed):
            return _words(error.reply_text)
        if isinstance(error, AMQPError) and not self.open:
            return "the broker lets us in neither as this user nor by this virtual host"
        return _words(error)


def _properties(letter: Letter) -> Any:
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,  # persistent
        message_id=str(letter.number),
        timestamp=letter.time,
        type=letter.kind,
        app_id="zonerelay",
    )


def _unrouted(error: UnroutableError) -> str:
    """The routing key of the first."""
    try:
        return repr(error.messages[0].method.routing_key)
    except (AttributeError, IndexError):
        return "what was sent"


def _words(error: object) -> str:
    text = str(error) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LONGEST]
