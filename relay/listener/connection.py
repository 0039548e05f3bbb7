"""The connection of a session: what comes, what goes, and how long each of it may take.

All waiting is bounded: by back-pressure (the spool is behind, the input waits for an answer,
or the client doesn't read its replies), and by the listener's sweep, which looks at the time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.listener.arrival import Arrival
from relay.listener.door import Submission
from relay.listener.room import TOO_BUSY
from relay.net.outlet import Outlet
from relay.smtp import words
from relay.smtp.events import Event
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server

if TYPE_CHECKING:
    from relay.listener.listener import ListenerFactory

#: How long a session that is over may take to read its last reply (seconds).
LINGER = 10.0
#: Over how long `min_rate` is measured (seconds).
RATE_OVER = 30.0

SHUTDOWN = reply(421, "4.3.2 Server shutdown in progress")
TIMEOUT = reply(421, "4.4.2 Timeout - closing connection")
TOO_SLOW = reply(421, "4.4.2 Error: the message comes too slowly")


@implementer(IPushProducer, IHalfCloseableProtocol)
class Connection(Protocol):
    """Bytes, time and ends; what is said is told by `session`.

    Attributes:
        obeyed: what is done about each kind of event.
        held: bytes in memory that would be free without this session.
        second: the watch's own note.
    """

    # Ten thousand of them may be idle.
    __slots__ = (
        "_arrival", "_behind", "_came", "_came_since", "_clogged", "_deaf", "_greeted", "_half_closed", "_held_back",
        "_lost", "_outlet", "_over", "_running", "_shaking", "_since", "_submission", "_text_since",
        "connected", "factory", "held", "second", "server", "transport",
    )  # fmt: skip

    factory: ListenerFactory
    transport: Any
    obeyed: ClassVar[dict[type, Callable[[Any, Any], None]]]
    server: Server
    _arrival: Arrival
    _outlet: Outlet

    def __init__(self, factory: ListenerFactory) -> None:
        self.factory = factory
        self._submission: Submission | None = None
        self._since = self._text_since = 0.0
        # What has come of a message since when, for its rate.
        self._came = 0
        self._came_since = 0.0
        self._running = False
        self._lost = False
        self._over = False  # Closing was seen, or we hung up
        self._greeted = False
        self._shaking = False  # STARTTLS was answered, and there is no TLS yet
        self._half_closed = False
        # Reasons not to read, and whether we do.
        self._clogged = False
        self._behind = False
        self._held_back = False
        self._deaf = False
        self.held = 0
        self.second = 0

    @abstractmethod
    def _abandon(self) -> None:
        """Forget what is under way: the session is over, or so is its message."""

    # -- Twisted calls

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return  # With TLS the client may go on until it has said farewell too: nobody would read that.
        server = self.server
        if self._submission is not None:
            self._since = self.factory.now
            self._came += len(data)
        if self._arrival.patient:
            self.factory.observe("too_early")
            self._hang_up(words.too_soon(self.factory.hostname))
            return
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
        if self._shaking:
            self.factory.observe("no_tls")
        self._abandon()
        self._arrival.gone()
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
        if self.server.waiting or self._behind or self._held_back or self._arrival.at_door:
            self._now_it_counts(now)
        config = self.factory.config
        end = self._since + (config.tls_timeout if self._shaking else config.timeout)
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
            if self._shaking:
                self._over = True
                self.abort()  # There is no way to say it.
            else:
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
        if self._shaking:
            self.transport.abortConnection()
        elif not self._over and self._submission is None and not self.server.waiting:
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
        server, obeyed = self.server, self.obeyed
        while self._greeted and not (self._clogged or self._behind or self._over):
            event = server.next_event()
            if event is not None:
                obeyed[event.__class__](self, event)
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
        if self._half_closed and self._greeted and not (server.waiting or self._behind or self._clogged):
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
        self._arrival.stop()
        self.weigh()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
