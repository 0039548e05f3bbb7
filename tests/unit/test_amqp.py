"""The sink by AMQP, as far as it goes without a broker: what it says of one that isn't right, and its configuration."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.cli.check_config import run
from relay.config import check_sinks
from relay.config.load import ConfigError, parse
from relay.config.schema import Sink
from relay.config.secret import SecretUnusable
from relay.events.amqp import Amqp, maker
from relay.events.broker import Channel
from relay.events.reader import NotTaken
from tests.unit.sink_rig import means, numbered

GOOD = """hostname = "relay.example.com"
[sinks.rabbit]
kind = "amqp"
host = "mq.example.com"
tls = true
user = "relay"
password_file = "secret"
vhost = "mail"
exchange = "events"
routing_key = "mail.{zone}.{kind}"
"""


class Transport(StringTransport):
    aborted = False
    handshake: Any = None

    def startTLS(self, handshake: Any) -> None:
        self.handshake = handshake

    def abortConnection(self) -> None:
        self.aborted = True


class Handshake:
    def __init__(self, distrust: str) -> None:
        self._distrust = distrust

    def distrust(self) -> str:
        return self._distrust


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.handshake: Callable[[str], Any] = lambda host: Handshake("")

    def sink(self, **section: Any) -> Amqp:
        fields = {"kind": "amqp", "host": "192.0.2.1", **section}
        return maker("rabbit", Sink(**fields), means(self.reactor, handshake=lambda host: self.handshake(host)))

    def call(self, sink: Amqp) -> tuple[Deferred[None], Any, Transport]:
        """What becomes of an event, and both ends of the connection that is made for it."""
        taken = sink.take([numbered(7)])
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        return taken, protocol, transport

    def reason(self, taken: Deferred[None]) -> str:
        return str(self.failureResultOf(taken, NotTaken).value)


class Broken(Case):
    def test_nobody_there(self) -> None:
        taken = self.sink().take([numbered(7)])
        host, port, factory, *_ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port), ("192.0.2.1", 5672))
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        self.assertIn("amqp:192.0.2.1:5672: Connection was refused", self.reason(taken))

    def test_silence(self) -> None:
        taken, _, transport = self.call(self.sink())
        self.assertTrue(transport.value().startswith(b"AMQP\0\0\x09\x01"))
        self.reactor.advance(15)
        self.assertEqual(self.reason(taken), "amqp:192.0.2.1:5672: not all is confirmed within 15 s")
        self.assertTrue(transport.aborted)

    def test_no_broker(self) -> None:
        for said in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01" + bytes(3) + b"\xff" * 4, b"220 mx ESMTP\r\n"):
            taken, protocol, _ = self.call(self.sink())
            protocol.dataReceived(said)
            protocol.connectionLost(Failure(error.ConnectionDone()))
            self.assertTrue(self.reason(taken).startswith("amqp:192.0.2.1:5672: "))
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_connection_lost_at_once_and_a_new_one_for_the_next(self) -> None:
        sink = self.sink()
        for number in (1, 2):
            taken, protocol, _ = self.call(sink)
            protocol.connectionLost(Failure(error.ConnectionLost()))
            self.reason(taken)
            self.assertEqual(len(self.reactor.tcpClients), number)

    def test_a_stop_in_between(self) -> None:
        sink = self.sink()
        taken, _, transport = self.call(sink)
        taken.cancel()
        sink.stop()
        self.failureResultOf(taken)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Safe(Case):
    def test_nothing_is_said_before_the_broker_has_proven_who_it_is(self) -> None:
        self.handshake = lambda host: Handshake("the certificate is for another host than 192.0.2.1")
        taken, protocol, transport = self.call(self.sink(tls=True))
        self.assertEqual(self.reactor.tcpClients[-1][1], 5671)
        self.assertIsNotNone(transport.handshake)
        protocol.handshakeCompleted()
        self.assertEqual(
            self.reason(taken), "amqps:192.0.2.1:5671: the certificate is for another host than 192.0.2.1"
        )
        self.assertEqual((transport.value(), transport.aborted), (b"", True))

    def test_then_it_goes_on(self) -> None:
        _, protocol, transport = self.call(self.sink(tls=True))
        self.assertEqual(transport.value(), b"")
        protocol.handshakeCompleted()
        self.assertTrue(transport.value().startswith(b"AMQP"))

    def test_tls_that_can_not_be(self) -> None:
        def handshake(host: str) -> Any:
            raise ValueError("no authorities")

        self.handshake = handshake
        taken, _, _ = self.call(self.sink(tls=True))
        self.assertEqual(self.reason(taken), "amqps:192.0.2.1:5671: no authorities")

    def test_a_password_is_nowhere_to_be_seen(self) -> None:
        with patch.dict(os.environ, {"RABBIT": "tops3cret"}):
            sink = self.sink(user="relay", password_variable="RABBIT")
        self.assertEqual(sink._broker.password, "tops3cret")
        self.assertNotIn("tops3cret", f"{sink._broker!r} {sink.where}")
        with self.assertRaises(SecretUnusable) as caught:
            self.sink(user="relay", password_variable="RABBIT")
        self.assertEqual(
            str(caught.exception), "sinks.rabbit.password_variable: RABBIT: expected a password, got nothing"
        )


class Published(Case):
    def test_a_key_for_each_within_its_bound(self) -> None:
        sink = self.sink(routing_key="mail.{zone}.{kind}")
        sent: list[Any] = []

        class Open(Channel):
            def __init__(self) -> None:
                self.open = True

            async def publish(self, letters: Any) -> None:
                sent.extend(letters)

        sink._channel = Open()
        self.successResultOf(sink.take([numbered(7, zone="a"), numbered(8, "bounced", zone="ü" * 300)]))
        self.assertEqual((sent[0].key, sent[0].kind, sent[0].number), ("mail.a.delivered", "delivered", 7))
        self.assertLessEqual(len(sent[1].key.encode()), 255)
        self.assertTrue(sent[0].body.startswith(b'{"number":7,"kind":"delivered"'))


class Configured(SynchronousTestCase):
    def wrong(self, old: str, new: str) -> str:
        self.assertIn(old, GOOD)
        with self.assertRaises(ConfigError) as caught:
            parse(GOOD.replace(old, new), "f")
        return str(caught.exception)

    def test_right(self) -> None:
        self.assertEqual(parse(GOOD, "f").sinks["rabbit"].vhost, "mail")

    def test_without_pika(self) -> None:
        with patch.object(check_sinks, "find_spec", lambda name: None):
            said = self.wrong("tls", "tls")
        self.assertIn(
            'sinks.rabbit.kind: expected pika for "amqp", which is not installed: pip install zonerelay[amqp]', said
        )

    def test_what_is_wrong(self) -> None:
        for old, new, said in (
            ('host = "mq.example.com"\n', "", 'sinks.rabbit.host: expected a host, for kind is "amqp"'),
            ("{zone}", "{recipient}", "sinks.rabbit.routing_key: expected no braces but {kind} and {zone}"),
            ('"events"', f'"{"ü" * 128}"', "sinks.rabbit.exchange: expected 255 bytes at most"),
            ('"mail"', f'"{"x" * 256}"', "sinks.rabbit.vhost: expected 255 bytes at most"),
            ('user = "relay"\n', "", "sinks.rabbit.user: expected both"),
            ('password_file = "secret"\n', "", "sinks.rabbit.user: expected both"),
            ('"secret"', '"secret"\npassword_variable = "X"', "expected either password_file or password_variable"),
            ('vhost = "mail"', 'url = "https://a.example/"', 'of no use, for kind is "amqp"'),
        ):
            self.assertIn(said, self.wrong(old, new))
        shown = self.wrong('password_file = "secret"', 'password_variable = "pa$$word"')
        self.assertIn("expected the name of an environment variable", shown)
        self.assertNotIn("pa$$word", shown)

    def test_check_config_looks_for_the_password(self) -> None:
        path, told = self.mktemp(), io.StringIO()
        Path(path).write_text(GOOD.replace('password_file = "secret"', 'password_variable = "NO_SUCH_WORD"'))
        with redirect_stderr(told):
            self.assertEqual(run(argparse.Namespace(config=path), lambda *_: 0), 1)
        self.assertIn("sinks.rabbit.password_variable: NO_SUCH_WORD: expected a password, got nothing", told.getvalue())

    def test_a_warning_where_others_may_listen(self) -> None:
        for host, warned in (("mq.example.com", 1), ("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("10.0.0.1", 1)):
            config = parse(GOOD.replace("mq.example.com", host).replace("tls = true\n", ""), "f")
            self.assertEqual(len(list(check_sinks.warnings(config))), warned, host)
