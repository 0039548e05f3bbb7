"""Letters that were made of a request, through the door and onto disk; what became of each, as the client is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from relay.http.answer import Problem, from_reply, shielded
from relay.http.slices import Slices
from relay.http.submit import TERMS
from relay.intake.onetime import Key
from relay.listener.door import Consignment, Intake, Refused, Settled, Submission
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.mime.letter import Letter

#: Bytes that go to the door at once.
_PIECE = 256 * 1024


class Order(NamedTuple):
    """A letter, and what is wanted for it: a `zone`, a first attempt not before `due` (ms since the epoch); whose it
    is, and what it is found by. Empty or 0: nothing."""

    letter: Letter
    zone: str = ""
    due: int = 0
    tenant: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}  # noqa: RUF012 (nobody writes into it)


#: What became of each of several letters.
Ends = Sequence[Settled | Problem]


class Handover:
    """Of all requests."""

    def __init__(self, intake: Intake, clock: IReactorTime, now: Callable[[], int], max_recipients: int) -> None:
        """`now` gives ms since the epoch."""
        self._intake = intake
        self._clock = clock
        self._now = now
        self._most = max_recipients

    async def kept(
        self,
        orders: Sequence[Order],
        origin: Origin,
        user: User | None,
        key: Key | None,
        said: Callable[[Ends], bytes],
    ) -> bytes:
        """Has them kept, and returns what `said` makes of it, once all are on disk or refused. It may raise Problem,
        and then none is kept. Under a key that answer is remembered with them. When this is cancelled, what is being
        written goes on. `user`: see relay.http.submit.user_of."""
        consignment = self._intake.consignment()
        try:
            ends = await self._settled(consignment, orders, origin, user)
            answer = said(ends)
        except BaseException:
            consignment.abandon()
            raise
        settled = [one for one in ends if isinstance(one, Settled)]
        mark = None
        if key is not None and settled:
            mark = key.mark(settled[0].message.id, self._now(), answer)
        kept = await shielded(consignment.keep(mark))
        if all(told is one.message for one, told in zip(settled, kept, strict=True)):
            return answer
        return said(_ends(ends, kept))

    async def _settled(
        self, consignment: Consignment, orders: Sequence[Order], origin: Origin, user: User | None
    ) -> list[Settled | Problem]:
        slices = Slices(self._clock)
        ends: list[Settled | Problem] = []
        for order in orders:
            try:
                submission = consignment.open(origin, TERMS, user)
                if order.zone:
                    submission.write(f"X-Sending-Zone: {order.zone}\r\n".encode())
                if order.letter.size <= _PIECE:
                    submission.write(b"".join(order.letter.pieces))
                else:
                    await _written(submission, order.letter)
                ends.append(consignment.settle(self._envelope(order)))
            except Refused as refused:
                ends.append(from_reply(refused.reply))
            if slices.over:
                await slices.breathe()
        return ends

    def _envelope(self, order: Order) -> Envelope:
        letter = order.letter
        named = None if letter.recipients is None else tuple(map(Recipient, letter.recipients))
        return Envelope(
            letter.sender,
            named,
            letter.utf8,
            due=order.due,
            most=self._most,
            tenant=order.tenant,
            tags=order.tags,
            metadata=order.metadata,
        )


async def _written(submission: Submission, letter: Letter) -> None:
    """As fast as the disk takes it."""
    for piece in letter.pieces:
        for at in range(0, len(piece), _PIECE):
            submission.write(piece[at : at + _PIECE])
            waiting = submission.wait()
            if waiting is not None:
                await waiting


def _ends(ends: Ends, kept: Sequence[Message | Refused]) -> list[Settled | Problem]:
    """What became of them in the end: `kept` tells of those that were settled."""
    found: list[Settled | Problem] = []
    told = iter(kept)
    for one in ends:
        if isinstance(one, Settled):
            result = next(told)
            found.append(from_reply(result.reply) if isinstance(result, Refused) else one._replace(message=result))
        else:
            found.append(one)
    return found
