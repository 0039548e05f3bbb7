"""One mail that came back, from its first octet until what it says is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from relay.bounce.returnpath import Place
from relay.listener.door import Refused
from relay.message.envelope import Envelope
from relay.message.values import Message, Origin
from relay.smtp.reply import Reply, reply

if TYPE_CHECKING:
    from relay.returns.desk import Desk

NOT_A_BOUNCE = reply(550, "5.7.1 Only what has the null sender is sent on to this recipient")
TOO_LONG = reply(552, "5.3.4 Error: the message is too long to be sent on")


class ReturnMail:
    """See relay.listener.door.Submission. It is kept in memory, and no more of it than is read."""

    def __init__(self, id: str, origin: Origin, desk: Desk) -> None:
        self.id = id
        self.origin = origin
        self._desk = desk
        self._text: list[bytes] = []
        self._kept = 0
        self.size = 0

    @property
    def held(self) -> int:
        return self._kept

    @property
    def text(self) -> bytes:
        """What is kept of it: the beginning."""
        return b"".join(self._text)

    @property
    def whole(self) -> bool:
        """Whether that is all of it."""
        return self.size == self._kept

    def write(self, data: bytes) -> None:
        self.size += len(data)
        data = data[: self._desk.most - self._kept]
        if data:
            self._text.append(data)
            self._kept += len(data)

    def wait(self) -> Deferred[None] | None:
        return None

    def finish(self, envelope: Envelope) -> Deferred[Message]:
        desk, sender = self._desk, envelope.sender or ""
        places = [desk.place(recipient.address) for recipient in envelope.recipients or ()]
        known = [place for place in places if place is not None]
        if any(place.purpose == "sender" for place in known) and (sender or not self.whole):
            return self._refuse(NOT_A_BOUNCE if sender else TOO_LONG, sender)
        return Deferred.fromCoroutine(self._finish(sender, known))

    async def _finish(self, sender: str, places: list[Place]) -> Message:
        try:
            await self._desk.take(self, sender, places)
        except Refused as refused:
            self.reject(sender, refused.reply)
            raise
        message = Message(self.id, sender, self.origin, self._desk.now(), b"", self.size, 0, len(places))
        self.abandon()
        return message

    def _refuse(self, refusal: Reply, sender: str) -> Deferred[Message]:
        self.reject(sender, refusal)
        return fail(Refused(refusal))

    def abandon(self) -> None:
        self._text = []
        self._kept = self.size = 0

    def reject(self, sender: str, refusal: Reply) -> None:
        self.abandon()
        self._desk.refused(self, sender, refusal)
