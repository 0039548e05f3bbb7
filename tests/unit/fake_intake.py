"""An intake that keeps what it is given in lists; for the tests of its clients."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from relay.listener.door import Client, Exchange, Refused, Terms
from relay.message.envelope import Envelope
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply, reply


class FakeSubmission:
    def __init__(self, intake: FakeIntake, number: int, origin: Origin) -> None:
        self.intake = intake
        self.id = f"{number:018x}"
        self.origin = origin
        self.text = b""
        self.envelope: Envelope | None = None
        self.sender: str | None = None
        self.recipients: Sequence[str] | None = None
        self.finished: Deferred[Message] | None = None
        self.abandoned = False

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
        self.submissions.append(submission)
        return submission

    def door(self) -> FakeDoor:
        """What a listener that leads here is given."""
        return FakeDoor(self)

    @property
    def taken(self) -> list[FakeSubmission]:
        """Those that were finished, in order."""
        return [submission for submission in self.submissions if submission.finished is not None]


class FakeDoor:
    """A listener's door to a fake intake. `later`: submissions come when `admit` is called."""

    def __init__(self, intake: FakeIntake) -> None:
        self.intake = intake
        self.inside: list[str] = []

    def enter(self, address: str) -> Deferred[None] | None:
        self.inside.append(address)
        return None

    def leave(self, address: str) -> None:
        self.inside.remove(address)

    def authenticate(self, mechanism: str, client: Client) -> Exchange:
        raise Refused(reply(504, "5.5.4 Unrecognized authentication type"))

    def open(
        self, origin: Origin, user: User | None, recipients: int
    ) -> FakeSubmission | Deferred[FakeSubmission]:
        return self.intake.open(origin, Terms(), user)
