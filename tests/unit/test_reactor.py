"""The reactor as the relay runs it: pins what it relies on in Twisted."""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from relay.net.reactor import prepare


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        if data == b"fail":
            raise RuntimeError("on purpose")
        self.transport.write(data)


class Caller(Protocol):
    def __init__(self, text: bytes, heard: Deferred[bytes]) -> None:
        self.text, self.heard, self.data = text, heard, b""

    def connectionMade(self) -> None:
        self.transport.write(self.text)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.heard.callback(self.data)


class Prepared(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        prepare(self.reactor)
        self.addCleanup(self.reactor.removeAll)

    def say(self, text: bytes) -> bytes:
        """What comes back before the connection ends."""
        server = Factory.forProtocol(Echo)
        port = self.reactor.listenTCP(0, server, interface="127.0.0.1")
        client = ClientFactory()
        heard: Deferred[bytes] = Deferred()
        client.buildProtocol = lambda addr: Caller(text, heard)
        self.reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        given_up = time.monotonic() + 10
        while not heard.called and time.monotonic() < given_up:
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0.05)
        port.stopListening()
        self.reactor.doIteration(0)
        return self.successResultOf(heard)

    def test_time_is_monotonic(self) -> None:
        before = time.monotonic()
        call = self.reactor.callLater(5, lambda: None)
        self.assertTrue(before + 5 <= call.getTime() <= time.monotonic() + 5)

    def test_sockets_are_served(self) -> None:
        self.assertEqual(self.say(b"hello"), b"hello")

    def test_a_protocol_that_raises_loses_its_connection_only(self) -> None:
        self.assertEqual(self.say(b"fail"), b"")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.say(b"hello"), b"hello")

    def test_a_second_stop_is_none_N17(self) -> None:
        self.reactor.sigTerm(15)
        self.reactor.sigTerm(15)
        self.reactor.startRunning()
        self.reactor.runUntilCurrent()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertTrue(self.reactor._stopped)
