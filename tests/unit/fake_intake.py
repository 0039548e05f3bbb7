"""An intake that keeps what it is given in lists; for the tests of its clients."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from relay.intake.door import Refused
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply


class FakeSubmission:
    def __init__(self, intake: FakeIntake, number: int, origin: Origin) -> None:
        self.intake = intake
        self.id = f"{number:018x}"
        self.origin = origin
        self.text = b""
        self.sender: str | None = None
        self.recipients: Sequence[str] | None = None
        self.finished: Deferred[Message] | None = None
        self.abandoned = False

    def write(self, data: bytes) -> None:
        assert not self.abandoned and self.finished is None
        self.text += data

    def wait(self) -> Deferred[None] | None:
        return self.intake.behind

    def finish(
        self, sender: str | None, recipients: Sequence[str] | None, most: int = 1000
    ) -> Deferred[Message]:
        assert not self.abandoned and self.finished is None
        self.sender, self.recipients = sender, recipients
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

    def open(self, origin: Origin, *, routing_headers: bool, max_header: int) -> FakeSubmission:
        if isinstance(self.refusal, Exception):
            raise self.refusal
        if self.refusal is not None:
            raise Refused(self.refusal)
        submission = FakeSubmission(self, len(self.submissions) + 1, origin)
        self.submissions.append(submission)
        return submission

    @property
    def taken(self) -> list[FakeSubmission]:
        """Those that were finished, in order."""
        return [submission for submission in self.submissions if submission.finished is not None]
