"""`zonerelay demo`: the whole journey on one machine, within a minute, touching nothing outside.

A relay with a queue of its own in a temporary folder, and a sink that plays the next hop: it
takes one message at once, greylists one first, and refuses one. The mail log's lines of
each message are shown as they come.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import LoopingCall

from relay.cli.command import Command, Start
from relay.config.schema import Listener
from relay.smtp import words
from relay.smtp.events import Closing, DataEnded, MailGiven, RcptGiven, Text
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server
from relay.startup import Refused

RECIPIENTS = {
    "accepted@demo.example": "is taken at the first attempt",
    "greylisted@demo.example": "is told to come back, and taken at the second attempt",
    "refused@demo.example": "does not exist: the delivery bounces",
}
#: When the demo gives up waiting (seconds).
PATIENCE = 45.0

_CONFIG = """
hostname = "relay.demo.example"
[queue]
path = "{folder}/queue"
retry = ["3s", "6s", "12s"]
min_free = "1MB"
[listeners.feeder]
endpoint = "tcp:{smtp}:interface=127.0.0.1"
[api]
endpoint = "tcp:{http}:interface=127.0.0.1"
[channel]
endpoint = "tcp:{channel}:interface=127.0.0.1"
[zones.default]
host = "127.0.0.1"
port = {sink}
[logs]
mail = "{folder}/mail.log"
"""


class _Sink(Protocol):
    """The next hop: the relay's own SMTP server, with three recipients and a short memory."""

    def __init__(self, seen: set[str]) -> None:
        self._seen = seen
        self._server = Server("mx.demo.example", "127.0.0.1", Listener())

    def connectionMade(self) -> None:
        self._server.greeting()
        self._run()

    def dataReceived(self, data: bytes) -> None:
        self._server.receive(data)
        self._run()

    def _run(self) -> None:
        transport: Any = self.transport
        while (event := self._server.next_event()) is not None:
            if isinstance(event, Closing):
                transport.write(self._server.output())
                transport.loseConnection()
                return
            if isinstance(event, RcptGiven):
                self._server.answer(self._judge(event.address.local))
            elif isinstance(event, DataEnded):
                self._server.answer(reply(250, "2.0.0 Taken by the sink"))
            elif isinstance(event, MailGiven):
                self._server.answer(words.ACCEPTED)
            elif not isinstance(event, Text) and hasattr(event, "recipients"):
                self._server.answer(words.GO_AHEAD)
        transport.write(self._server.output())

    def _judge(self, local: str) -> Reply:
        if local == "refused":
            return reply(550, "5.1.1 No such user here")
        if local == "greylisted" and local not in self._seen:
            self._seen.add(local)
            return reply(451, "4.7.1 Greylisted, come back in a moment")
        return words.RECIPIENT_ACCEPTED


class _Client(Protocol):
    """Submits one message, a reply at a time."""

    def __init__(self, lines: list[bytes], said: Deferred[str]) -> None:
        self._lines = lines
        self._said = said
        self._heard = b""

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        while b"\r\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\r\n")
            if line[3:4] == b"-":
                continue
            transport: Any = self.transport
            if b"queued as" in line or line[:1] in b"45":
                self._said.callback(line.decode())
                transport.loseConnection()
                return
            transport.write(self._lines.pop(0))


class _Submit(ClientFactory):
    noisy = False

    def __init__(self, recipient: str) -> None:
        self.said: Deferred[str] = Deferred()
        text = (
            f"From: Demo <me@demo.example>\r\nTo: <{recipient}>\r\nSubject: A first message\r\n\r\nHello!\r\n.\r\n"
        )
        self._lines = [
            line.encode()
            for line in (
                "EHLO demo.example\r\n",
                "MAIL FROM:<me@demo.example>\r\n",
                f"RCPT TO:<{recipient}>\r\n",
                "DATA\r\n",
                text,
            )
        ]

    def buildProtocol(self, addr: object) -> _Client:
        return _Client(self._lines, self.said)


class _Show:
    """Prints what happens, and knows when all of it has."""

    def __init__(self, log: Path, done: Deferred[None]) -> None:
        self._log = log
        self._done = done
        self._position = 0
        self._open: set[str] = set()
        self._names: dict[str, str] = {}
        self._began = time.monotonic()
        self.ended = 0

    def submitted(self, answer: str, recipient: str) -> None:
        queue_id = answer.split()[-1]
        self._names[queue_id] = recipient.partition("@")[0]
        print(f"\n{recipient} {RECIPIENTS[recipient]}\n  the relay answers: {answer}")

    def look(self) -> None:
        if self._log.exists():
            with self._log.open() as log:
                log.seek(self._position)
                for line in log:
                    self._tell(line)
                self._position = log.tell()
        if self.ended == len(RECIPIENTS) and not self._done.called:
            self._done.callback(None)

    def _tell(self, line: str) -> None:
        _, step, name, *_ = line.split(" ", 3)
        who = self._names.get(name.removeprefix("id=").partition(".")[0])
        if who is None or step == "queued":
            return
        text = line.rpartition(" reply=")[2].strip() if " reply=" in line else ""
        print(f"  {time.monotonic() - self._began:4.1f} s  {who:<11} {step:<10} {text}", flush=True)
        self.ended += step in ("delivered", "bounced")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0 when all three messages have come to their ends."""
    from twisted.internet import reactor

    loop: Any = reactor
    with tempfile.TemporaryDirectory(prefix="zonerelay-demo-") as folder:
        seen: set[str] = set()
        factory = Factory.forProtocol(lambda: _Sink(seen))  # type: ignore[arg-type]
        factory.noisy = False
        sink = loop.listenTCP(0, factory, interface="127.0.0.1")
        ports = [loop.listenTCP(0, Factory(), interface="127.0.0.1") for _ in range(3)]
        smtp, http, channel = (port.getHost().port for port in ports)
        for port in ports:
            port.stopListening()
        config = Path(folder) / "zonerelay.toml"
        config.write_text(
            _CONFIG.format(folder=folder, smtp=smtp, http=http, channel=channel, sink=sink.getHost().port)
        )
        done: Deferred[None] = Deferred()
        show = _Show(Path(folder) / "mail.log", done)

        def begin() -> None:
            service = start(str(config))
            try:
                service.privilegedStartService()
                service.startService()
            except Refused:
                loop.stop()
                return
            loop.addSystemEventTrigger("before", "shutdown", service.stopService)
            print(f"A relay listens on 127.0.0.1:{smtp}, its next hop is a sink on port {sink.getHost().port}.")
            for recipient in RECIPIENTS:
                submit = _Submit(recipient)
                submit.said.addCallback(show.submitted, recipient)
                loop.connectTCP("127.0.0.1", smtp, submit)
            LoopingCall(show.look).start(0.1)
            done.addTimeout(PATIENCE, loop).addBoth(lambda _: loop.stop())

        loop.callWhenRunning(begin)
        loop.run()
    if show.ended < len(RECIPIENTS):
        print("not all messages came to their end in time", file=sys.stderr)
        return 1
    print("\nDone: one delivered, one delivered after a greylisting, one bounced.")
    return 0


COMMAND = Command("demo", "show the way of three messages, without touching the Internet", lambda _: None, run)
