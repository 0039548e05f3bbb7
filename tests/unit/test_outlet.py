"""Writes that don't wait for a turn of the reactor."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from relay.net.client_tls import ClientTls
from relay.net.outlet import Outlet
from tests.unit.certificates import Authority
from tests.unit.test_client_tls import serving


class Secure(SynchronousTestCase):
    """A client's side; no turn of the reactor ends but by `clock`."""

    def setUp(self) -> None:
        self.server = serving(Authority().server("mx.test"))
        self.clock, self.below, inside = Clock(), StringTransport(), Protocol()
        handshake = ClientTls().to("mx.test")
        factory = TLSMemoryBIOFactory(handshake, True, Factory.forProtocol(lambda: inside), self.clock)
        self.tls = factory.buildProtocol(None)  # type: ignore[arg-type]
        assert self.tls is not None
        self.tls.makeConnection(self.below)
        self.outlet = Outlet(self.tls)

    def heard(self) -> bytes:
        """What the server hears, once it has answered what belongs to the handshake."""
        heard = b""
        while sent := self.below.value():
            self.below.clear()
            self.server.bio_write(sent)
            try:
                while True:
                    heard += self.server.recv(1 << 16)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            try:
                answer = self.server.bio_read(1 << 16)
            except SSL.WantReadError:
                continue
            self.tls.dataReceived(answer)
        return heard

    def test_a_step_leaves_at_once(self) -> None:
        self.heard()
        self.outlet.write(b"MAIL\r\n")
        self.assertEqual(self.heard(), b"MAIL\r\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_longer_than_one_record(self) -> None:
        self.heard()
        text = b"0123456789abcdef" * 4096
        self.outlet.write(text)
        self.assertEqual(self.heard(), text)

    def test_in_the_midst_of_the_handshake_it_waits(self) -> None:
        self.outlet.write(b"EHLO\r\n")
        self.outlet.write(b"MAIL\r\n")
        self.assertEqual(self.heard(), b"EHLO\r\nMAIL\r\n")

    def test_a_last_word_comes_last(self) -> None:
        self.heard()
        self.outlet.write(b"MAIL\r\n")
        self.tls.write(b"QUIT\r\n")
        self.tls.loseConnection()
        self.assertEqual(self.heard(), b"MAIL\r\nQUIT\r\n")

    def test_nobody_is_there_any_more(self) -> None:
        self.heard()
        self.tls.abortConnection()
        self.outlet.write(b"MAIL\r\n")
        self.assertEqual(self.heard(), b"")
