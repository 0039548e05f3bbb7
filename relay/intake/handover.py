"""One message that comes from a receiver: in which order, how much, and whether its text is sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from twisted.internet.defer import Deferred

from relay.channel import reception as frames
from relay.channel.codec import BadFrame
from relay.channel.frames import CHUNK, MAX_HEADER
from relay.config.schema import Listener
from relay.intake.submission import Submission
from relay.listener.draft import Text
from relay.message.envelope import Recipient
from relay.message.headers import HeaderBlock
from relay.message.values import Message


class Handover:
    """It is opening while there is no submission, open, and then ended.

    Attributes:
        taken: pieces that the receiver was told of.
    """

    __slots__ = (
        "_ascii", "_behind_cr", "_given", "_longest", "_longest_header", "_most", "_to", "ended", "submission", "taken",
    )  # fmt: skip

    def __init__(self, section: Listener, frame: frames.Open) -> None:
        """Raises BadFrame."""
        _check_words(msgspec.structs.astuple(frame.origin))
        if frame.recipients > section.max_recipients:
            raise BadFrame("more recipients than the listener takes")
        self.submission: Submission | None = None
        self.ended = False
        self.taken = 0
        # A little may have been added: where a line was broken, or the header had no line end.
        self._longest = section.max_size and section.max_size + section.max_size // 64 + 2
        self._longest_header = min(section.max_header, MAX_HEADER)
        self._most = frame.recipients
        self._to: list[Recipient] = []
        self._given = 0
        self._ascii = True
        self._behind_cr = False

    def piece(self, frame: frames.Piece) -> Deferred[None] | None:
        """The next piece of body. None: more may come, else when it fires. Raises BadFrame."""
        submission = self._open()
        if frame.chunk != self._given:
            raise BadFrame(f"piece {frame.chunk} where {self._given} was to come")
        self._given += 1
        if 0 < self._longest < self._given * CHUNK:
            raise BadFrame("a message longer than the listener takes")
        self._check_body(frame.data)
        submission.give(frame.chunk, frame.data)
        return submission.wait()

    def to(self, recipients: Sequence[Recipient]) -> None:
        """Some of the recipients. Raises BadFrame."""
        self._open()
        self._to += recipients
        if len(self._to) > self._most:
            raise BadFrame("more recipients than it was opened for")
        for recipient in recipients:
            _check_words(msgspec.structs.astuple(recipient))

    def finish(self, frame: frames.Finish) -> Deferred[Message]:
        """The end: fires when the message is on disk, or fails with Refused. Raises BadFrame."""
        submission, envelope, header, rest = self._open(), frame.envelope, frame.header, frame.rest
        if envelope.sender is None or envelope.recipients is None:
            raise BadFrame("a message without an envelope")
        self.to(envelope.recipients)
        _check_words((envelope.sender, envelope.ret, envelope.envid))
        if envelope.tenant or envelope.tags or envelope.metadata:
            raise BadFrame("a message with labels that SMTP has no words for")
        if frame.chunks != self._given or frame.body_size != self._given * CHUNK + len(rest):
            raise BadFrame("a message whose pieces are not its body")
        if self._given and not rest:
            raise BadFrame("a message that ends with a whole piece")
        if 0 < self._longest < len(header) + frame.body_size:
            raise BadFrame("a message longer than the listener takes")
        _check_header(header, self._longest_header)
        self._check_body(rest)
        if self._behind_cr:
            raise BadFrame("a body that ends within a line end")
        if not (frame.eight_bit or (self._ascii and header.isascii())):
            raise BadFrame("a message of eight bits that is said to have seven")
        if len(frame.body_hash) not in (0, 32):
            raise BadFrame("a hash of a wrong length")
        self.ended = True
        text = Text(header, frame.body_size, frame.chunks, rest, frame.eight_bit, frame.body_hash)
        envelope = msgspec.structs.replace(envelope, recipients=tuple(self._to))
        return submission.complete(envelope, HeaderBlock(header), text)

    def abandon(self, frame: frames.Abandon | None = None) -> None:
        """Forget it, unless it has ended: then it is stored all the same. `frame`: the receiver
        says so. Raises BadFrame."""
        if self.submission is None or self.ended:
            return
        if frame is None or frame.refusal is None:
            self.submission.abandon()
        else:
            _check_words((frame.sender,))
            self.submission.reject(frame.sender, frame.refusal)

    def _open(self) -> Submission:
        if self.submission is None or self.ended:
            raise BadFrame("a message that is not open")
        return self.submission

    def _check_body(self, data: bytes) -> None:
        """Each CR has its LF, each LF its CR, wherever the body was cut (RFC 5321 2.3.8)."""
        if not data:
            return
        line_ends = data.count(b"\r\n") + (self._behind_cr and data[0] == 10)
        returns = data.count(b"\r") + self._behind_cr
        self._behind_cr = data[-1] == 13
        if data.count(b"\n") != line_ends or returns != line_ends + self._behind_cr or b"\0" in data:
            raise BadFrame("a body with bare line ends or NUL")
        self._ascii = self._ascii and data.isascii()


def _check_header(header: bytes, longest: int) -> None:
    if not header:
        return
    line_ends = header.count(b"\r\n")
    if (
        len(header) > longest
        or not header.endswith(b"\r\n")
        or header.startswith(b"\r\n")
        or header.count(b"\n") != line_ends
        or header.count(b"\r") != line_ends
        or b"\r\n\r\n" in header
        or b"\0" in header
    ):
        raise BadFrame("a header that is none, or too long")


def _check_words(words: Iterable[object]) -> None:
    if not frames.fit(words):
        raise BadFrame("an envelope with control characters, or over-long")
