"""One SMTP client: the thin edge between its connection, the sans-io server and the intake.

All waiting is bounded: by back-pressure (the spool is behind, the input waits for an answer,
or the client doesn't read its replies), and by the listener's sweep, which looks at the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.listener.destination import LOCAL_DESTINATION, is_local
from relay.listener.door import Refused, Submission
from relay.listener.room import NO_ROOM, TOO_BUSY
from relay.message.envelope import Envelope, Recipient
from relay.message.values import Message, Origin
from relay.net.outlet import Outlet
from relay.smtp import words
from relay.smtp.events import Closing, DataBegun, DataEnded, Event, MailGiven, RcptGiven, Reset, Text
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server
from relay.smtp.states import State

if TYPE_CHECKING:
    from relay.listener.listener import ListenerFactory

#: How long a session that is over may take to read its last reply (seconds).
LINGER = 10.0
#: Over how long `min_rate` is measured (seconds).
RATE_OVER = 30.0

SHUTDOWN = reply(421, "4.3.2 Server shutdown in progress")
TIMEOUT = reply(421, "4.4.2 Timeout - closing connection")
TOO_SLOW = reply(421, "4.4.2 Error: the message comes too slowly")
RELAYING_DENIED = reply(550, "5.7.1 Relaying denied")
LOCAL_ERROR = reply(451, "4.3.0 Local error in processing")


@implementer(IPushProducer, IHalfCloseableProtocol)
class ListenerProtocol(Protocol):
    """One client."""

    # Ten thousand of them may be idle.
    __slots__ = (
        "_allowed",
        "_at_dot",
        "_begun",
        "_behind",
        "_came",
        "_came_since",
        "_client",
        "_clogged",
        "_deaf",
        "_half_closed",
        "_held_back",
        "_lost",
        "_outlet",
        "_over",
        "_running",
        "_since",
        "_submission",
        "_text_since",
        "connected",
        "factory",
        "held",
        "second",
        "server",
        "transport",
    )

    _log = Logger()
    factory: ListenerFactory
    transport: Any

    def __init__(self, factory: ListenerFactory) -> None:
        self.factory = factory
        self.server: Server
        self._client = ""
        self._allowed = False
        self._submission: Submission | None = None
        self._begun: DataBegun | None = None
        self._since = self._text_since = 0.0
        # What has come of a message since when, for its rate.
        self._came = 0
        self._came_since = 0.0
        self._running = False
        self._lost = False
        self._over = False  # Closing was seen, or we hung up
        self._half_closed = False
        # Reasons not to read, and whether we do.
        self._clogged = False
        self._behind = False
        self._held_back = False
        self._deaf = False
        # Bytes in memory: ours, and of a message that is on its way to the disk.
        self.held = 0
        self._at_dot = 0
        self.second = 0

    # -- Twisted calls

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        # Not with TLS: writeSomeData would go round it.
        self._outlet = Outlet(transport)
        # One that comes over a UNIX socket is on this machine.
        host = getattr(transport.getPeer(), "host", "127.0.0.1")
        self._client, self._allowed = self.factory.client(host)
        self.server = Server(self.factory.hostname, self._client, self.factory.config)
        transport.registerProducer(self, True)
        self.factory.joined(self)
        self._since = self.factory.now
        self.server.greeting()
        self._run()

    def dataReceived(self, data: bytes) -> None:
        server = self.server
        if server.state is State.TEXT:
            self._since = self.factory.now
            self._came += len(data)
        server.receive(data)
        self._run()

    def readConnectionLost(self) -> None:
        """The client sends no more; it may still want to hear what its last message came to."""
        self._half_closed = True
        self._run()

    def writeConnectionLost(self) -> None:
        """We never half-close ourselves."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._lost = self._over = True
        self._abandon()
        self.factory.room.change(-self.held)
        self.held = 0
        self.factory.left(self)

    def pauseProducing(self) -> None:
        """The client doesn't read its replies: hear no more of it until it does."""
        self._clogged = True

    def resumeProducing(self) -> None:
        self._clogged = False
        self._run()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""

    # -- what the factory calls

    def look_at(self, now: float) -> float:
        """End the session when the client takes too long. Time that we take doesn't count.
        Else: in how many seconds that could be."""
        if self._over:
            if now - self._since > LINGER:
                self.transport.abortConnection()
            return LINGER
        if self.server.waiting or self._behind or self._held_back:
            self._now_it_counts(now)
        config = self.factory.config
        end = self._since + config.timeout
        late = TIMEOUT if now > end else None
        if self._submission is not None:
            end = min(end, self._text_since + config.data_timeout)
            if now > end:
                late = TIMEOUT
            elif now - self._came_since >= RATE_OVER:
                if self._came < config.min_rate * (now - self._came_since):
                    late = TOO_SLOW
                self._came, self._came_since = 0, now
            end = min(end, self._came_since + RATE_OVER)
        if late is not None:
            self.factory.observe("timeout")
            self._hang_up(late)
        return end - now

    def _now_it_counts(self, now: float) -> None:
        """Until now we kept the client waiting."""
        self._since = self._came_since = now
        self._came = 0

    def read_on(self) -> None:
        """There is room in memory again."""
        self._held_back = False
        self._now_it_counts(self.factory.now)
        self._run()

    def weigh(self) -> None:
        """Tell what we hold in memory when that has changed."""
        held = self.server.held + self._outlet.waiting
        submission = self._submission
        if submission is not None:
            held += submission.held
        if held != self.held:
            self.factory.room.change(held - self.held)
            self.held = held

    def make_room(self) -> None:
        """Others need the memory more. What waits for our own answer gets it: that is soon."""
        if self._over:
            self.transport.abortConnection()
        if self._over or self.server.waiting:
            return
        self.factory.observe("shed")
        self._hang_up(TOO_BUSY)
        if self.held:  # Replies that nobody reads.
            self.transport.abortConnection()

    def shut_down(self) -> None:
        """End the session, after the verdict if a message is on its way."""
        if not self._over and self._submission is None and not self.server.waiting:
            self._hang_up(SHUTDOWN)

    def abort(self) -> None:
        """End it at once."""
        self.transport.abortConnection()

    # -- the conversation

    def _run(self) -> None:
        """Obey all events there are, then send the replies to them in one write."""
        if self._running or self._over:
            return
        self._running = True
        server = self.server
        while not (self._clogged or self._behind or self._over):
            event = server.next_event()
            if event is not None:
                _OBEY[event.__class__](self, event)
            elif not self._send():
                break
        else:
            if not self._clogged:
                self._send()
        self._running = False
        if self._over:
            return
        self.weigh()
        if self.held and self.factory.room.full:
            self._held_back = True
            self.factory.room.hold_back(self)
        if self._half_closed and not (server.waiting or self._behind or self._clogged):
            self._close()
            return
        deaf = self._clogged or self._behind or self._held_back or (self.held > 0 and server.full)
        if deaf is not self._deaf:
            self._deaf = deaf
            if deaf:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _send(self) -> bool:
        output = self.server.output()
        if not output:
            return False
        # Only what gets a reply shows that the client gets on, a byte now and then doesn't.
        self._since = self.factory.now
        self._outlet.write(output)
        return True

    def _hang_up(self, reason: Reply) -> None:
        self.server.close(reason)
        self._closing()

    def _closing(self, event: Event | None = None) -> None:
        output = self.server.output()
        if output:
            self._outlet.write(output)
        self._close()

    def _close(self) -> None:
        self._over = True
        self._since = self.factory.now
        self.factory.watch.expect(self, self._since + LINGER)
        self._abandon()
        self._begun = None
        self.weigh()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _abandon(self) -> None:
        submission, self._submission = self._submission, None
        if submission is not None:
            submission.abandon()
            self.factory.observe("abandoned")

    # -- events

    def _mail(self, event: MailGiven) -> None:
        if self.factory.stopping:
            self.server.answer(SHUTDOWN)
        else:
            self.server.answer(NO_ROOM if self.factory.room.tight else words.ACCEPTED)

    def _rcpt(self, event: RcptGiven) -> None:
        if not self._allowed:
            self.server.answer(RELAYING_DENIED)
        elif is_local(event.address.domain):
            self.server.answer(LOCAL_DESTINATION)
        else:
            self.server.answer(words.RECIPIENT_ACCEPTED)

    def _data(self, event: DataBegun) -> None:
        factory, server = self.factory, self.server
        if factory.room.tight:
            server.answer(NO_ROOM)
            return
        origin = Origin(factory.name, self._client, server.helo, "ESMTP" if server.extended else "SMTP")
        self._begun = event
        try:
            opened = factory.door.open(origin, None, len(event.recipients))
        except Exception:
            self._not_opened(Failure())
            return
        if isinstance(opened, Deferred):
            opened.addCallbacks(self._opened, self._not_opened)
        else:
            self._opened(opened)

    def _opened(self, submission: Submission) -> None:
        if self._over:
            submission.abandon()
            return
        self._submission = submission
        self._text_since = self._came_since = self.factory.now
        self._came = 0
        self.server.answer(words.GO_AHEAD)
        self._run()

    def _not_opened(self, failure: Failure) -> None:
        refused = failure.value
        if isinstance(refused, Refused):
            self.factory.observe("refused")
            self.server.answer(refused.reply)
        else:
            self._log.failure(
                "{listener}: no submission for {client}", failure, listener=self.factory.name, client=self._client
            )
            self.factory.observe("failed")
            self.server.answer(LOCAL_ERROR)
        self._run()

    def _text(self, event: Text) -> None:
        submission = self._submission
        assert submission is not None
        submission.write(event.data)
        wait = submission.wait()
        if wait is not None:
            self._behind = True
            wait.addBoth(self._caught_up)

    def _caught_up(self, result: object) -> None:
        # Why it wasn't spooled, if it wasn't, is told by finish().
        self._behind = False
        self._now_it_counts(self.factory.now)
        self._run()

    def _data_ended(self, event: DataEnded) -> None:
        submission, begun = self._submission, self._begun
        assert submission is not None and begun is not None
        self._submission = self._begun = None
        if event.problem is not None:
            submission.abandon()
            self.factory.observe("refused")
            self._verdict(event.problem)
            return
        sender = "" if begun.mail.sender is None else begun.mail.sender.text
        if self.held:  # Else it is so small that it came as one piece.
            self._at_dot = self.held
            self.factory.room.change(self._at_dot)
        recipients = tuple([Recipient(rcpt.address.text) for rcpt in begun.recipients])
        submission.finish(Envelope(sender, recipients)).addCallbacks(self._queued, self._refused)

    def _queued(self, message: Message) -> None:
        self.factory.observe("accepted")
        self._verdict(reply(250, f"2.0.0 Message queued as {message.id}"))

    def _refused(self, failure: Failure) -> None:
        if isinstance(failure.value, Refused):
            self.factory.observe("refused")
            self._verdict(failure.value.reply)
            return
        self._log.failure(
            "{listener}: message of {client} failed", failure, listener=self.factory.name, client=self._client
        )
        self.factory.observe("failed")
        self._verdict(LOCAL_ERROR)

    def _verdict(self, answer: Reply) -> None:
        """Say what the message came to, if there is still somebody to hear it."""
        if self._at_dot:
            self.factory.room.change(-self._at_dot)
            self._at_dot = 0
        if self._lost:
            return
        self.server.answer(answer)
        if self.factory.stopping:
            self.server.close(SHUTDOWN)
        self._run()

    def _reset(self, event: Reset) -> None:
        """Nothing is begun before DATA, so there is nothing to forget."""


_OBEY: dict[type, Callable[[ListenerProtocol, Any], None]] = {
    MailGiven: ListenerProtocol._mail,
    RcptGiven: ListenerProtocol._rcpt,
    DataBegun: ListenerProtocol._data,
    Text: ListenerProtocol._text,
    DataEnded: ListenerProtocol._data_ended,
    Reset: ListenerProtocol._reset,
    Closing: ListenerProtocol._closing,
}
