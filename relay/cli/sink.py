"""The next hop of the demo: a mail server that keeps nothing and has three opinions."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol

from relay.config.schema import Listener
from relay.smtp import words
from relay.smtp.events import Closing, DataBegun, DataEnded, MailGiven, RcptGiven
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server

TAKEN = reply(250, "2.0.0 Taken by the sink")
UNKNOWN = reply(550, "5.1.1 No such user here")
LATER = reply(451, "4.7.1 Greylisted, come back in a moment")


class Sink(Factory):
    """Refuses the recipient `refused`, has `greylisted` come twice, takes all others."""

    noisy = False

    def __init__(self) -> None:
        self._met: set[str] = set()

    def buildProtocol(self, addr: object) -> _Session:
        return _Session(self)

    def judge(self, local: str) -> Reply:
        """The answer to RCPT for this local part."""
        if local == "refused":
            return UNKNOWN
        if local == "greylisted" and local not in self._met:
            self._met.add(local)
            return LATER
        return words.RECIPIENT_ACCEPTED


class _Session(Protocol):
    """The relay's own SMTP server, with answers that need no thought."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._server = Server("mx.demo.example", "127.0.0.1", Listener())

    def connectionMade(self) -> None:
        self._server.greeting()
        self._converse()

    def dataReceived(self, data: bytes) -> None:
        self._server.receive(data)
        self._converse()

    def _converse(self) -> None:
        transport: Any = self.transport
        server = self._server
        while (event := server.next_event()) is not None:
            if isinstance(event, MailGiven):
                server.answer(words.ACCEPTED)
            elif isinstance(event, RcptGiven):
                server.answer(self._sink.judge(event.address.local))
            elif isinstance(event, DataBegun):
                server.answer(words.GO_AHEAD)
            elif isinstance(event, DataEnded):
                server.answer(event.problem or TAKEN)
            elif isinstance(event, Closing):
                transport.write(server.output())
                transport.loseConnection()
                return
        transport.write(server.output())
