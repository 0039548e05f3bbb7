"""An intake that keeps what it is given in lists; for the tests of its clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed

from relay.listener.destination import refusal
from relay.listener.door import VOUCHED, Client, Exchange, Refused, Terms
from relay.listener.draft import Text
from relay.message.address import Address
from relay.message.envelope import Envelope
from relay.message.headers import HeaderBlock
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply, reply


class FakeSubmission:
    def __init__(self, intake: FakeIntake, number: int, origin: Origin) -> None:
        self.intake = intake
        self.id = f"{number:018x}"
        self.origin = origin
        self.user: User | None = None
        self.text = self.chunks = b""
        self.envelope: Envelope | None = None
        self.sender: str | None = None
        self.recipients: Sequence[str] | None = None
        self.finished: Deferred[Message] | None = None
        self.abandoned = False
        self.rejected: tuple[str, Reply] | None = None

    @property
    def held(self) -> int:
        return len(self.text)

    def write(self, data: bytes) -> None:
        assert not self.abandoned and self.finished is None
        self.text += data

    def wait(self) -> Deferred[None] | None:
        return self.intake.behind

    def finish(self, envelope: Envelope) -> Deferred[Message]:
        assert not self.abandoned and self.finished is None
        self.envelope = envelope
        self.sender, named = envelope.sender, envelope.recipients
        self.recipients = None if named is None else [recipient.address for recipient in named]
        self.finished = Deferred()
        if self.intake.at_once:
            self.commit()
        return self.finished

    def abandon(self) -> None:
        assert self.finished is None, "abandoned after finish"
        self.abandoned = True

    def reject(self, sender: str, refusal: Reply) -> None:
        self.abandon()
        self.rejected = (sender, refusal)

    def give(self, number: int, chunk: bytes) -> None:
        self.chunks += chunk

    def complete(self, envelope: Envelope, block: HeaderBlock, text: Text) -> Deferred[Message]:
        """As a receiver ends a message."""
        body = self.chunks + text.rest
        self.text = block.raw + b"\r\n" * bool(block.raw and body) + body
        return self.finish(envelope)

    def commit(self) -> None:
        """The message is on disk."""
        assert self.finished is not None
        self.finished.callback(
            Message(
                self.id, self.sender or "", self.origin, 0, b"", len(self.text), 1, len(self.recipients or ())
            )
        )


class FakeIntake:
    """`submissions` are all that were opened. `at_once`: a finished one is on disk at once."""

    def __init__(self, at_once: bool = True) -> None:
        self.at_once = at_once
        self.behind: Deferred[None] | None = None
        self.refusal: Reply | Exception | None = None
        self.submissions: list[FakeSubmission] = []

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> FakeSubmission:
        if isinstance(self.refusal, Exception):
            raise self.refusal
        if self.refusal is not None:
            raise Refused(self.refusal)
        submission = FakeSubmission(self, len(self.submissions) + 1, origin)
        submission.user = user
        self.submissions.append(submission)
        return submission

    def door(self) -> FakeDoor:
        """What a listener that leads here is given."""
        return FakeDoor(self)

    @property
    def taken(self) -> list[FakeSubmission]:
        """Those that were finished, in order."""
        return [submission for submission in self.submissions if submission.finished is not None]


BAD_LOGIN = reply(535, "5.7.8 Error: authentication failed")


class FakeExchange:
    """PLAIN, LOGIN, EXTERNAL by the first name in the certificate, and XCLIENT for all but "gone".
    `later`: steps wait until they are fired."""

    def __init__(self, door: FakeDoor, mechanism: str, client: Client) -> None:
        self.door = door
        self.mechanism = mechanism
        self.client = client
        self.said: list[str] = []
        self.waiting: Deferred[bytes | User] | None = None
        self.cancelled = False

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        assert not self.cancelled
        if self.door.later:
            self.waiting = Deferred()
            return self.waiting
        try:
            return succeed(self._step(response))
        except Refused as refused:
            return fail(refused)

    def _step(self, response: bytes | None) -> bytes | User:
        text = None if response is None else response.decode("utf-8", "replace")
        if self.mechanism == VOUCHED:
            name = (response or b"").decode()
            if name == "gone":
                raise Refused(BAD_LOGIN)
            return self.door.users[name][1] if name in self.door.users else User(name)
        if self.mechanism == "EXTERNAL":
            return self._user(self.client.certificate[0], "-")
        if text is None:
            return b"Username:" if self.mechanism == "LOGIN" else b""
        self.said.append(text)
        if self.mechanism == "LOGIN":
            return b"Password:" if len(self.said) == 1 else self._user(*self.said)
        parts = text.split("\0")
        if len(parts) != 3:
            raise Refused(BAD_LOGIN)
        return self._user(*parts[1:])

    def _user(self, name: str, password: str) -> User:
        known = self.door.users.get(name)
        if known is None or known[0] != password:
            raise Refused(BAD_LOGIN)
        return known[1]

    def cancel(self) -> None:
        self.cancelled = True


class FakeDoor:
    """A listener's door to a fake intake. `users`: password and user by name. `later`: logins take their
    time. `entering`: what `enter` gives or raises, `admitting` what is made of recipients."""

    def __init__(self, intake: FakeIntake) -> None:
        self.intake = intake
        self.inside: list[str] = []
        self.users: dict[str, tuple[str, User]] = {}
        self.exchanges: list[FakeExchange] = []
        self.later = False
        self.entering: Deferred[None] | Exception | None = None
        self.admitting: Callable[[str, str], Deferred[None] | None] = lambda user, recipient: None

    def enter(self, address: str) -> Deferred[None] | None:
        if isinstance(self.entering, Exception):
            raise self.entering
        self.inside.append(address)
        return self.entering

    def leave(self, address: str) -> None:
        self.inside.remove(address)

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        exchange = FakeExchange(self, mechanism, client)
        self.exchanges.append(exchange)
        return exchange

    def refusal(self, address: Address) -> Reply | None:
        return refusal(address)

    def admit(self, user: str, recipient: str) -> Deferred[None] | None:
        return self.admitting(user, recipient)

    def open(
        self, origin: Origin, user: User | None, recipients: int
    ) -> FakeSubmission | Deferred[FakeSubmission]:
        return self.intake.open(origin, Terms(), user)
