"""A message on its way to the master: parsed, hashed and cut here, kept and judged there.

Pieces of a large body go to the master as they are cut. Only few are on their way at once, and
the client is held back meanwhile, so that neither this process nor the channel fills up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred, fail

from relay.channel import reception as frames
from relay.channel.frames import CHUNK, Frame
from relay.listener.door import Refused
from relay.listener.draft import TOO_LONG_HEADER, Draft, HeaderTooLong, Text
from relay.message.envelope import Envelope, Recipient
from relay.message.headers import HeaderBlock
from relay.message.values import Message, Origin
from relay.reception.window import Window
from relay.smtp.reply import Reply, reply

UNFIT = reply(554, "5.6.0 Error: control characters in the envelope")


class Submission:
    """One message until the master has said what becomes of it."""

    __slots__ = (
        "_done",
        "_draft",
        "_ended",
        "_finish",
        "_flying",
        "_message",
        "_number",
        "_origin",
        "_over",
        "_say",
        "_too_long",
        "_unsent",
        "_waiter",
        "_window",
        "id",
    )

    def __init__(
        self,
        number: int,
        queue_id: str,
        origin: Origin,
        max_header: int,
        *,
        hashes: Callable[[HeaderBlock], bool],
        say: Callable[[Frame], None],
        window: Window,
        ended: Callable[[int], object],
    ) -> None:
        """`ended` is told once the master will say no more of it."""
        self.id = queue_id
        self._number = number
        self._origin = origin
        self._say = say
        self._window = window
        self._ended = ended
        self._draft = Draft(max_header, hashes, self._give)
        self._too_long = False
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._flying = 0
        self._waiter: Deferred[None] | None = None
        self._finish: tuple[Envelope, Text] | None = None
        self._done: Deferred[Message] | None = None
        self._message: Message | None = None
        self._over = False

    @property
    def held(self) -> int:
        """Bytes of it in memory: what is collected, and pieces that the master has not taken."""
        return self._draft.held + (len(self._unsent) + self._flying) * CHUNK

    # -- text in

    def write(self, data: bytes) -> None:
        """Message text with CRLF line ends, in any split."""
        if self._over or self._too_long:
            return
        try:
            self._draft.write(data)
        except HeaderTooLong:
            self._too_long = True

    def _give(self, number: int, chunk: bytes) -> None:
        self._unsent.append((number, chunk))
        self.send_on()

    def send_on(self) -> None:
        """Send what may be sent of what there is; behind the last piece, the end."""
        while self._unsent and self._flying < frames.PIECES_AHEAD and self._window.take(self):
            self._flying += 1
            self._say(frames.Piece(self._number, *self._unsent.popleft()))
        if self._unsent:
            return
        if self._finish is not None:
            finish, self._finish = self._finish, None
            self._end(*finish)
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(None)

    def landed(self) -> None:
        """The master has taken a piece."""
        self._flying -= 1
        self._window.give_back()
        self.send_on()
        self._check_ended()

    def wait(self) -> Deferred[None] | None:
        """None: give more. Else pause the client until it fires."""
        if not self._unsent:
            return None
        if self._waiter is None:
            self._waiter = Deferred()
        return self._waiter

    # -- the end

    def finish(self, envelope: Envelope) -> Deferred[Message]:
        """End of text: fires when the master has it on disk, or fails with Refused. The message's
        header is what came in."""
        try:
            if self._too_long:
                raise HeaderTooLong
            _, text = self._draft.end()
        except HeaderTooLong:
            self.reject(envelope.sender or "", TOO_LONG_HEADER)
            return fail(Refused(TOO_LONG_HEADER))
        recipients = envelope.recipients or ()
        if not _fit(envelope, recipients):
            self.reject(envelope.sender or "", UNFIT)
            return fail(Refused(UNFIT))
        self._message = Message(
            self.id,
            envelope.sender or "",
            self._origin,
            0,
            text.header,
            text.body_size,
            text.chunks + bool(text.rest),
            len(recipients),
            text.eight_bit,
            body_hash=text.body_hash,
        )
        done = self._done = Deferred()
        self._finish = (envelope, text)
        self.send_on()
        return done

    def _end(self, envelope: Envelope, text: Text) -> None:
        number, recipients = self._number, envelope.recipients or ()
        while len(recipients) > frames.RECIPIENTS:
            self._say(frames.To(number, recipients[: frames.RECIPIENTS]))
            recipients = recipients[frames.RECIPIENTS :]
        if recipients is not envelope.recipients:
            envelope = msgspec.structs.replace(envelope, recipients=recipients)
        self._say(frames.Finish(number, envelope, *msgspec.structs.astuple(text)))

    def judged(self, verdict: frames.Verdict) -> None:
        """What the master says of the whole."""
        self._over = True
        self._check_ended()
        done, message = self._done, self._message
        assert done is not None and message is not None
        if verdict.refusal is not None:
            done.errback(Refused(verdict.refusal))
        else:
            done.callback(msgspec.structs.replace(message, id=verdict.id, created=verdict.created))

    def abandon(self) -> None:
        """The client is gone: forget it."""
        self._forget(frames.Abandon(self._number))

    def reject(self, sender: str, refusal: Reply) -> None:
        """The text was refused, which the client is told: forget it, and let the master note that."""
        self._forget(frames.Abandon(self._number, sender if frames.fit((sender,)) else "", refusal))

    def _forget(self, last_word: frames.Abandon) -> None:
        if not self._over:
            self._over = True
            self._unsent.clear()
            self._waiter = None
            self._window.forget(self)
            self._say(last_word)
            self._check_ended()

    def _check_ended(self) -> None:
        """Pieces on their way are still counted."""
        if self._over and not self._flying:
            self._ended(self._number)


def _fit(envelope: Envelope, recipients: Sequence[Recipient]) -> bool:
    words = (envelope.sender, envelope.ret, envelope.envid)
    return frames.fit(words) and all(frames.fit(msgspec.structs.astuple(one)) for one in recipients)
