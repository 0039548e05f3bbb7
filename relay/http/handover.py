"""Letters that were made of a request, through the door and onto disk; what became of each, as the client is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail

from relay.http.answer import Problem, from_reply, shielded
from relay.http.kept import Kept
from relay.http.submit import TERMS
from relay.listener.door import Intake, Refused, Submission
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.mime.letter import Letter
from relay.queue.store import Store

#: Bytes that go to the door at once, and messages that are on their way to the disk together.
_PIECE = 256 * 1024
_TOGETHER = 50


class Handover:
    """Of all requests."""

    def __init__(self, intake: Intake, store: Store, max_recipients: int) -> None:
        self._intake = intake
        self._store = store
        self._most = max_recipients

    async def kept(
        self, letters: Sequence[Letter], origin: Origin, key: bytes, user: User | None = None
    ) -> list[Kept | Problem]:
        """Writes those of a user, in order; returns when all are on disk or refused. Of several under one idempotency
        key (b"": none) each has one of its own. When it is cancelled, what is being written goes on."""
        several = bool(key) and len(letters) > 1
        keys = [b"%b/%d" % (key, number) if several else key for number in range(len(letters))]
        found: list[Kept | Problem] = []
        for at in range(0, len(letters), _TOGETHER):
            some = letters[at : at + _TOGETHER]
            writing: list[Deferred[Message]] = []
            try:
                for one, own in zip(some, keys[at : at + _TOGETHER], strict=True):
                    writing.append(await self._written(one, origin, own, user))
            except BaseException:
                DeferredList(writing, consumeErrors=True)
                raise
            results: Any = await shielded(DeferredList(writing, consumeErrors=True))
            found += [self._result(one, ok, result) for one, (ok, result) in zip(some, results, strict=True)]
        return found

    async def _written(self, one: Letter, origin: Origin, key: bytes, user: User | None) -> Deferred[Message]:
        """Hands one to the door; fires when it is on disk, fails with Refused."""
        try:
            submission = self._intake.open(origin, TERMS, user)
        except Refused as refused:
            return fail(refused)
        try:
            await _hand_over(submission, one, key)
        except BaseException:
            submission.abandon()
            raise
        named = None if one.recipients is None else tuple(map(Recipient, one.recipients))
        return submission.finish(Envelope(one.sender, named, one.utf8, most=self._most))

    def _result(self, one: Letter, ok: bool, result: Any) -> Kept | Problem:
        if not ok:
            result.trap(Refused)
            return from_reply(result.value.reply)
        # Without recipients of its own it was alone, and is read back in the same turn of the reactor: no delivery
        # can have ended yet.
        to = self._store.recipients(result.id) if one.recipients is None else list(one.recipients)
        return Kept(result.id, result.sender, to, f"Message queued as {result.id}")


async def _hand_over(submission: Submission, one: Letter, key: bytes) -> None:
    if key:
        submission.write(b"X-Idempotency-Key: %b\r\n" % key)
    for piece in one.pieces:
        for at in range(0, len(piece), _PIECE):
            submission.write(piece[at : at + _PIECE])
            waiting = submission.wait()
            if waiting is not None:
                await waiting
