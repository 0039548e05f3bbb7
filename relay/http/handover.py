"""Letters that were made of a request, through the door and onto disk; what became of each, as the client is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from relay.http.answer import Problem, from_reply, shielded
from relay.http.slices import Slices
from relay.http.submit import TERMS
from relay.intake.onetime import Key
from relay.listener.door import Consignment, Intake, Refused, Settled
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
        written: Any = await shielded(_all(consignment.keep(mark)))
        return answer if mark is not None and all(ok for ok, _ in written) else said(_ends(ends, written))

    async def _settled(
        self, consignment: Consignment, orders: Sequence[Order], origin: Origin, user: User | None
    ) -> list[Settled | Problem]:
        slices = Slices(self._clock)
        ends: list[Settled | Problem] = []
        for order in orders:
            try:
                ends.append(await self._one(consignment, order, origin, user))
            except Refused as refused:
                ends.append(from_reply(refused.reply))
            await slices.breathe()
        return ends

    async def _one(self, consignment: Consignment, order: Order, origin: Origin, user: User | None) -> Settled:
        submission = consignment.open(origin, TERMS, user)
        letter = order.letter
        if order.zone:
            submission.write(f"X-Sending-Zone: {order.zone}\r\n".encode())
        for piece in letter.pieces:
            for at in range(0, len(piece), _PIECE):
                submission.write(piece[at : at + _PIECE] if len(piece) > _PIECE else piece)
                waiting = submission.wait()
                if waiting is not None:
                    await waiting
        named = None if letter.recipients is None else tuple(map(Recipient, letter.recipients))
        return consignment.settle(
            Envelope(
                letter.sender,
                named,
                letter.utf8,
                due=order.due,
                most=self._most,
                tenant=order.tenant,
                tags=order.tags,
                metadata=order.metadata,
            )
        )


def _all(writing: list[Deferred[Message]]) -> Deferred[Any]:
    return DeferredList(writing, consumeErrors=True)


def _ends(ends: Ends, written: Sequence[tuple[bool, Any]]) -> list[Settled | Problem]:
    """What became of them in the end: `written` has those that were settled."""
    found: list[Settled | Problem] = []
    told = iter(written)
    for one in ends:
        if isinstance(one, Settled):
            ok, result = next(told)
            if not ok:
                result.trap(Refused)
                one = from_reply(result.value.reply)
            else:
                one = one._replace(message=result)
        found.append(one)
    return found
