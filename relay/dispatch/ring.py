"""Lanes that take turns: deficit round robin between the classes of urgency, then between users, and
one after the other of each user's lanes.

Each turn costs what it sends, so that large messages count for more. A class or user whose
turns have cost more than its share waits until the others have had theirs (Shreedhar and Varghese,
"Efficient Fair Queuing using Deficit Round Robin", 1995). Who leaves and comes back finds what he has left or
owes, until many others have left since. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeVar

from relay.message.flow import PRIORITIES, read_flow
from relay.queue.schedule import Lane

#: Turns of a class to one of the least urgent.
_SHARES = dict(zip(PRIORITIES, (16.0, 4.0, 1.0), strict=True))
#: What a message costs beside its size, and the size that costs as much again (bytes).
_MESSAGE = 1.0
_SIZE = 65536
#: One message costs no more than this, or a large one would be paid for by an hour of silence.
_MOST = 64.0
#: Flows that have left and are remembered, in each ring.
REMEMBERED = 1000


def cost(size: int, recipients: int = 1) -> float:
    """What a message of so many bytes costs that goes to so many recipients at once."""
    return min(_MOST, _MESSAGE + size / _SIZE) + _MESSAGE * (recipients - 1)


class _Party:
    """Who takes turns with others: its share, and what is left of its turn."""

    __slots__ = ("credit", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.credit = 0.0


class _Flow(_Party):
    """The lanes of one user and class that are here."""

    __slots__ = ("kind", "lanes", "text")

    def __init__(self, text: str, kind: _Class, share: float) -> None:
        super().__init__(share)
        self.text = text
        self.kind = kind
        self.lanes: OrderedDict[Lane, None] = OrderedDict()


class _Class(_Party):
    """The flows of one class: those with lanes in `line`, the one whose turn it is first."""

    __slots__ = ("flows", "line")

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.flows: dict[str, _Flow] = {}
        self.line: OrderedDict[str, _Flow] = OrderedDict()


_T = TypeVar("_T", bound=_Party)


class Ring:
    """Lanes, each once. `weight` gives the share of a user (1.0 is the usual one)."""

    __slots__ = ("_away", "_classes", "_count", "_line", "_now", "_weight")

    def __init__(self, weight: Callable[[str], float] = lambda user: 1.0) -> None:
        self._weight = weight
        self._classes: dict[str, _Class] = {}
        self._line: OrderedDict[str, _Class] = OrderedDict()
        #: Flows without lanes; the one that left last comes last.
        self._away: OrderedDict[str, _Flow] = OrderedDict()
        #: The flow whose turn it is, while that is sure.
        self._now: _Flow | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Lane]:
        for kind in self._line.values():
            for flow in kind.line.values():
                yield from flow.lanes

    def __contains__(self, lane: Lane) -> bool:
        flow = self._flow(lane.flow)
        return flow is not None and lane in flow.lanes

    def add(self, lane: Lane) -> None:
        """Behind the others of its user. A user who comes back with something left of his turn goes on with it."""
        text = lane.flow
        now = self._now
        if now is not None and now.text == text:
            if lane not in now.lanes:
                now.lanes[lane] = None
                self._count += 1
            return
        user, priority = read_flow(text)
        kind = self._classes.get(priority)
        if kind is None:
            kind = self._classes[priority] = _Class(_SHARES[priority])
        flow = kind.flows.get(text)
        if flow is None:
            flow = kind.flows[text] = _Flow(text, kind, self._weight(user))
        if lane in flow.lanes:
            return
        if not flow.lanes:
            self._now = None
            self._away.pop(text, None)
            if not kind.line:
                _enter(self._line, priority, kind)
            _enter(kind.line, text, flow)
        flow.lanes[lane] = None
        self._count += 1

    def put_back(self, lane: Lane) -> None:
        """One whose turn it was comes back without having had it."""
        self.add(lane)
        flow = self._flow(lane.flow)
        assert flow is not None, "it is here"
        flow.lanes.move_to_end(lane, last=False)

    def remove(self, lane: Lane) -> None:
        """It leaves; nothing for one that isn't here."""
        flow = self._flow(lane.flow)
        if flow is None or lane not in flow.lanes:
            return
        del flow.lanes[lane]
        self._count -= 1
        if flow.lanes:
            return
        self._now = None
        kind = flow.kind
        del kind.line[lane.flow]
        if not kind.line:
            del self._line[read_flow(lane.flow).priority]
        self._away[lane.flow] = flow
        if len(self._away) > REMEMBERED:
            text, old = self._away.popitem(last=False)
            del old.kind.flows[text]
        if not self._count:
            # Nobody is left who could have had less.
            if len(self._classes) == 1 and len(kind.flows) == 1:
                flow.credit = kind.credit = 0.0
            else:
                self._classes.clear()
                self._away.clear()

    def head(self) -> Lane | None:
        """Whose turn it is."""
        if not self._count:
            return None
        flow = self._now
        if flow is None:
            flow = self._now = _first(_first(self._line).line)
        return next(iter(flow.lanes))

    def served(self, lane: Lane, spent: float) -> None:
        """Its turn has cost so much; the next one of its user has the next."""
        flow = self._flow(lane.flow)
        if flow is None:
            return
        if len(flow.lanes) > 1 and lane in flow.lanes:
            flow.lanes.move_to_end(lane)
        kind = flow.kind
        if flow is self._now and len(kind.line) == 1 and len(self._line) == 1:
            flow.credit = kind.credit = 0.0  # There is nobody to be fair to.
            return
        flow.credit -= spent
        kind.credit -= spent
        if flow.credit <= 0 or kind.credit <= 0:
            self._now = None

    def _flow(self, text: str) -> _Flow | None:
        now = self._now
        if now is not None and now.text == text:
            return now
        kind = self._classes.get(read_flow(text).priority)
        return None if kind is None else kind.flows.get(text)


def _enter(line: OrderedDict[str, _T], key: str, party: _T) -> None:
    line[key] = party
    if party.credit > 0:
        line.move_to_end(key, last=False)
    else:
        party.credit += party.share


def _first(line: OrderedDict[str, _T]) -> _T:
    """Whose turn it is: the first with something left; who is at the end of his turn goes behind the others."""
    if len(line) == 1:
        party = next(iter(line.values()))
        if party.credit <= 0:
            party.credit = party.share  # There is nobody to wait for.
        return party
    for _ in range(len(line)):
        key, party = next(iter(line.items()))
        if party.credit > 0:
            return party
        party.credit += party.share
        line.move_to_end(key)
    # All owe something: the rounds in which nobody would have a turn are gone through at once.
    rounds = min(-party.credit // party.share for party in line.values())
    if rounds > 0:
        for party in line.values():
            party.credit += rounds * party.share
    return _first(line)
