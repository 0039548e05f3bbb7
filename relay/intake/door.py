"""What a listener and the API know of the intake: begin a submission, feed it, finish it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from relay.message.values import Message, Origin
from relay.smtp.reply import Reply

#: Recipients taken from a header, unless the way in has a limit of its own.
MOST_RECIPIENTS = 1000


class Refused(Exception):
    """The message is not taken; `reply` says to the client why, in SMTP's words."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Submission(Protocol):
    """One message on its way in."""

    id: str

    def write(self, data: bytes) -> None:
        """Message text (header, empty line, body) with CRLF line ends, in any split.
        Never raises: what is wrong with the text is told by `finish`."""

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else pause the client until it fires (the spool is behind)."""

    def finish(
        self, sender: str | None, recipients: Sequence[str] | None, most: int = MOST_RECIPIENTS
    ) -> Deferred[Message]:
        """End of text. Fires when the message is on disk. Fails with Refused.
        None for either means: take it from the header (From/Sender, To+Cc+Bcc; `most` of
        them). A recipient within our own network is refused.
        Recipients are given normalised (see relay.message.address)."""

    def abandon(self) -> None:
        """The client is gone or the message was refused: forget what was written."""


class Intake(Protocol):
    def open(self, origin: Origin, *, routing_headers: bool, max_header: int) -> Submission:
        """Begin a submission. Raises Refused when nothing can be taken now (452 4.3.1)."""
