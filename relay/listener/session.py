"""One SMTP client: the thin edge between the sans-io server and the door.

How bytes come and go, and how long that may take, is told by `connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.listener.arrival import Arrival
from relay.listener.connection import SHUTDOWN, Connection
from relay.listener.door import VOUCHED, Refused, Submission
from relay.listener.envelope import envelope, sender
from relay.listener.login import TROUBLE, Login
from relay.listener.room import NO_ROOM, TLS
from relay.listener.visitor import Visitor
from relay.message.user import User, may_send_as
from relay.message.values import Message
from relay.net import tls
from relay.net.outlet import Outlet
from relay.smtp import words
from relay.smtp.events import (
    AuthBegun,
    AuthCancelled,
    AuthContinued,
    Closing,
    DataBegun,
    DataEnded,
    MailGiven,
    RcptGiven,
    Reset,
    Text,
    TlsWanted,
    XclientGiven,
)
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server

if TYPE_CHECKING:
    from relay.listener.listener import ListenerFactory

RELAYING_DENIED = reply(550, "5.7.1 Relaying denied")
NOT_OWNED = reply(553, "5.7.1 Error: sender address is not owned by user")
LOCAL_ERROR = reply(451, "4.3.0 Local error in processing")


@implementer(IHandshakeListener)
class ListenerProtocol(Connection):
    """One client."""

    __slots__ = ("_at_dot", "_begun", "_login", "_visitor")

    _log = Logger()

    def __init__(self, factory: ListenerFactory) -> None:
        super().__init__(factory)
        self._visitor: Visitor
        self._login: Login | None = None
        self._begun: DataBegun | None = None
        self._at_dot = 0  # Bytes of a message that is on its way to the disk.

    # -- Twisted calls

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        # Not with TLS: writeSomeData would go round it.
        self._outlet = Outlet(transport)
        factory, config = self.factory, self.factory.config
        # One that comes over a UNIX socket is on this machine.
        host = getattr(transport.getPeer(), "host", "127.0.0.1")
        self._visitor = visitor = Visitor(*factory.client(host))
        self.server = Server(
            factory.hostname,
            visitor.address,
            config,
            starttls=config.tls == "starttls" and factory.tls is not None,
            mechanisms=self._mechanisms(),
            xclient=factory.trusts(host),
            now=factory.wall,
        )
        if config.tls == "implicit":
            self._secured()
        transport.registerProducer(self, True)
        factory.joined(self)
        self._since = factory.now
        self._arrival = Arrival(factory.door, visitor.address, self._greet, self._turn_away)
        self._arrival.begin(config.greeting_delay, factory.later)

    def handshakeCompleted(self) -> None:
        """STARTTLS has led to TLS."""
        self._shaking = False
        self._since = self.factory.now
        self._secured()
        self._run()

    def connectionLost(self, reason: Failure | None = None) -> None:
        super().connectionLost(reason)
        if self._visitor.tls:
            self.factory.room.change(-TLS)

    # -- the conversation

    def _greet(self) -> None:
        if self._over:
            return
        self._greeted = True
        self._since = self.factory.now
        self.server.greeting()
        self._run()

    def _turn_away(self, reason: Reply) -> None:
        self.factory.observe("turned_away")
        self._hang_up(reason)

    def _mechanisms(self) -> tuple[str, ...]:
        """The ways to log in; EXTERNAL takes a certificate that was checked."""
        config = self.factory.config
        if not config.auth or "EXTERNAL" not in config.mechanisms or self._visitor.certificate:
            return config.mechanisms if config.auth else ()
        return tuple(mechanism for mechanism in config.mechanisms if mechanism != "EXTERNAL")

    def _secured(self) -> None:
        """There is TLS: whoever the client said it was, it may say again."""
        self.factory.observe("tls")
        visitor = self._visitor
        visitor.user = None
        visitor.tls = tls.description(self.transport)
        if visitor.tls:
            self.factory.room.change(TLS)
        visitor.certificate = tls.certificate_names(self.transport)
        self.server.secured(self._mechanisms())

    def _abandon(self) -> None:
        """Forget the message and the login that are under way."""
        self._begun = None
        submission, self._submission = self._submission, None
        if submission is not None:
            submission.abandon()
            self.factory.observe("abandoned")
        if self._login is not None:
            self._login_ended(AuthCancelled())

    # -- who it is

    def _begin_tls(self, event: TlsWanted) -> None:
        self._send()
        server_tls = self.factory.tls
        assert server_tls is not None, "STARTTLS is offered only with it"
        self._shaking = True
        self._since = self.factory.now
        self.factory.watch.expect(self, self._since + self.factory.config.tls_timeout)
        self.transport.startTLS(server_tls.options)
        self._outlet = Outlet(self.transport)  # It must not write past TLS.

    def _begin_login(self, event: AuthBegun) -> None:
        self._login = login = Login(self._logged_in)
        login.begin(self.factory.door, event.mechanism, self._visitor.client(self.server.helo), event.initial)

    def _go_on_with_login(self, event: AuthContinued) -> None:
        assert self._login is not None
        self._login.respond(event.response)

    def _login_ended(self, event: AuthCancelled) -> None:
        login, self._login = self._login, None
        if login is not None:
            login.cancel()

    def _logged_in(self, result: bytes | User | Reply) -> None:
        """What the door says to a login, or to a step of it."""
        server = self.server
        if isinstance(result, bytes):
            server.challenge(result)
        else:
            self._login = None
            if isinstance(result, User):
                self._visitor.user = result
            self.factory.observe("login" if isinstance(result, User) else "login_failed")
            server.answer(words.AUTHENTICATED if isinstance(result, User) else result)
        self._run()

    def _xclient(self, event: XclientGiven) -> None:
        given, visitor = event.attributes, self._visitor
        if "ADDR" in given:
            known = self.factory.client(given["ADDR"]) if given["ADDR"] else (visitor.address, False)
            visitor.address, visitor.allowed = known
            visitor.certificate = ()
        visitor.host = given.get("NAME", "")
        if not given.get("LOGIN"):
            if "LOGIN" in given:
                visitor.user = None
            self.server.answer(words.greeting(self.factory.hostname))
            return
        visitor.user = None
        self._login = login = Login(self._spoken_for)
        login.begin(
            self.factory.door, VOUCHED, visitor.client(given.get("HELO", "")), given["LOGIN"].encode("utf-8")
        )

    def _spoken_for(self, result: bytes | User | Reply) -> None:
        """What the door says of a user whom a trusted client has named."""
        self._login = None
        if isinstance(result, User):
            self._visitor.user = result
            self.server.answer(words.greeting(self.factory.hostname))
        else:
            self.server.answer(result if isinstance(result, Reply) else TROUBLE)
        self._run()

    # -- what it sends

    def _mail(self, event: MailGiven) -> None:
        user = self._visitor.user
        if self.factory.stopping:
            self.server.answer(SHUTDOWN)
        elif self.factory.room.tight:
            self._put_off()
        elif user is not None and not may_send_as(user, event.sender):
            self._deny(NOT_OWNED)
        else:
            self.server.answer(words.ACCEPTED)

    def _rcpt(self, event: RcptGiven) -> None:
        visitor = self._visitor
        if not visitor.allowed and visitor.user is None:
            self._deny(RELAYING_DENIED)
        elif (refusal := self.factory.door.refusal(event.address)) is not None:
            self._deny(refusal)
        else:
            self._ask_for(event.address.text)

    def _ask_for(self, recipient: str) -> None:
        """Whether it is one who is to get no mail."""
        try:
            user = self._visitor.user
            admitted = self.factory.door.admit("" if user is None else user.tenant or user.name, recipient)
        except Exception:
            self._not_admitted(Failure())
            return
        if admitted is None:
            self.server.answer(words.RECIPIENT_ACCEPTED)
        else:
            admitted.addCallbacks(self._admitted, self._not_admitted)

    def _admitted(self, _: None) -> None:
        if not self._over:
            self.server.answer(words.RECIPIENT_ACCEPTED)
            self._run()

    def _not_admitted(self, failure: Failure) -> None:
        if self._over:
            return
        refused = failure.value
        if isinstance(refused, Refused):
            self._deny(refused.reply)
        else:
            self.server.answer(self._reason(failure))
        self._run()

    def _deny(self, refusal: Reply) -> None:
        self.factory.observe("denied")
        self.server.answer(refusal)

    def _put_off(self) -> None:
        self.factory.observe("put_off")
        self.server.answer(NO_ROOM)

    def _data(self, event: DataBegun) -> None:
        factory, server = self.factory, self.server
        if factory.room.tight:
            self._put_off()
            return
        visitor = self._visitor
        origin = visitor.origin(factory.name, server.helo, server.extended, event.mail.smtputf8)
        self._begun = event
        try:
            opened = factory.door.open(origin, visitor.user, len(event.recipients))
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
        self.server.answer(self._reason(failure))
        self._run()

    def _reason(self, failure: Failure) -> Reply:
        """What the client is told of a message that isn't taken."""
        refused = failure.value
        if isinstance(refused, Refused):
            self.factory.observe("refused")
            return refused.reply
        self._log.failure(
            "{listener}: a message of {client} failed",
            failure,
            listener=self.factory.name,
            client=self._visitor.address,
        )
        self.factory.observe("failed")
        return LOCAL_ERROR

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
            submission.reject(sender(begun.mail), event.problem)
            self.factory.observe("refused")
            self._verdict(event.problem)
            return
        if self.held:  # Else it is so small that it came as one piece.
            self._at_dot = self.held
            self.factory.room.change(self._at_dot)
        submission.finish(envelope(begun, self.factory.wall)).addCallbacks(self._queued, self._refused)

    def _queued(self, message: Message) -> None:
        self.factory.observe("accepted")
        self._verdict(reply(250, f"2.0.0 Message queued as {message.id}"))

    def _refused(self, failure: Failure) -> None:
        self._verdict(self._reason(failure))

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
        """Nothing is begun before DATA; but between two chunks a message is."""
        self._abandon()


ListenerProtocol.obeyed = {
    MailGiven: ListenerProtocol._mail,
    RcptGiven: ListenerProtocol._rcpt,
    DataBegun: ListenerProtocol._data,
    Text: ListenerProtocol._text,
    DataEnded: ListenerProtocol._data_ended,
    Reset: ListenerProtocol._reset,
    AuthBegun: ListenerProtocol._begin_login,
    AuthContinued: ListenerProtocol._go_on_with_login,
    AuthCancelled: ListenerProtocol._login_ended,
    TlsWanted: ListenerProtocol._begin_tls,
    XclientGiven: ListenerProtocol._xclient,
    Closing: ListenerProtocol._closing,
}
