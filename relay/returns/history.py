"""What is remembered of deliveries, out of the events of their way; and where what comes back joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, fail

from relay.message.event import RETURNS, Event, Numbered
from relay.message.queueid import parse_name
from relay.queue.store import StoreError
from relay.returns.past import Known

#: Steps of a message that are looked at, for its delivery: it may have been tried for days before anything came back.
_STEPS = 1000
#: Messages of one Message-ID that are.
_MESSAGES = 10
#: How long ago a message may have been sent that somebody complains about (ms).
_AGO = 90 * 86_400_000


class Book(Protocol):
    """The store of events (relay.queue.store)."""

    def accepting(self) -> bool: ...
    def tell(self, events: Sequence[Event]) -> Deferred[None]: ...
    def history(self, queue_id: str, seq: int | None, limit: int) -> list[Numbered]: ...
    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> Iterable[str]: ...


class History:
    """See relay.returns.past.Past."""

    def __init__(self, book: Book, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._book = book
        self._now = now

    def delivery(self, id: str, seq: int) -> Known | None:
        return _known(id, seq, [step.event for step in self._book.history(id, seq, _STEPS)])

    def sent(self, message_id: str, recipient: str) -> Known | None:
        now = self._now()
        names = self._book.trace("message-id", message_id, now - _AGO, now, _MESSAGES)
        ids = {found[0] for name in names if (found := parse_name(name)) is not None}
        for id in sorted(ids, reverse=True):
            steps = [step.event for step in self._book.history(id, None, _STEPS)]
            for seq in _numbers(steps, recipient.lower()):
                return _known(id, seq, steps)
        return None

    def tell(self, *events: Event) -> Deferred[None]:
        # Strangers get no room that is kept for what mail of ours comes to.
        return self._book.tell(events) if self._book.accepting() else fail(StoreError("there is no room for it"))


def _known(id: str, seq: int, steps: Sequence[Event]) -> Known | None:
    """A delivery by the steps of its message; None where it had none."""
    queued = next((step for step in steps if step.kind == "queued"), None)
    own = next((step for step in steps if step.seq == seq and step.recipient), None)
    recipient = own.recipient if own is not None else _recipient(queued, seq)
    step = own or queued
    returned = sum(step.seq == seq and step.kind in RETURNS for step in steps)
    if step is None or (own is None and queued is not None and seq > queued.recipients):
        return Known(id, seq, returned=returned) if returned else None
    return Known(
        id, seq, step.zone, step.sender, recipient, step.user, step.message_id, step.fbl, returned, step.tenant,
        step.tags,
    )  # fmt: skip


def _recipient(queued: Event | None, seq: int) -> str:
    return queued.to[seq - 1] if queued is not None and seq <= len(queued.to) else ""


def _numbers(steps: Sequence[Event], recipient: str) -> list[int]:
    """The deliveries to an address."""
    found = [step.seq for step in steps if step.seq and step.recipient.lower() == recipient]
    for step in steps:
        found += [seq for seq, one in enumerate(step.to, 1) if one.lower() == recipient]
    return found
