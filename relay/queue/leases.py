"""Leases: which delivery is in which child's hands. Pure.

A lease number holds the master's epoch in its upper half, so that nothing an earlier
master handed out can be mistaken for a lease of this one.
"""

from __future__ import annotations

from relay.queue.schedule import Work

_EPOCH_SHIFT = 32


class Lease:
    """One delivery in one child's hands, on one connection, `since` (the clock's seconds)."""

    __slots__ = ("child", "connection", "number", "since", "work")

    def __init__(self, number: int, work: Work, child: str, connection: int, since: float) -> None:
        self.number = number
        self.work = work
        self.child = child
        self.connection = connection
        self.since = since


class Leases:
    """All leases of this master."""

    def __init__(self, epoch: int) -> None:
        """`epoch` is this start's number, 31 bits, different from every earlier one."""
        self.epoch = epoch
        self._next = epoch << _EPOCH_SHIFT
        self._leases: dict[int, Lease] = {}
        self._of: dict[str, dict[int, Lease]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def grant(self, work: Work, child: str, connection: int, now: float) -> Lease:
        """Put a delivery into a child's hands."""
        self._next += 1
        lease = Lease(self._next, work, child, connection, now)
        self._leases[lease.number] = lease
        self._of.setdefault(child, {})[lease.number] = lease
        work.lease = lease.number
        return lease

    def get(self, number: int) -> Lease | None:
        return self._leases.get(number)

    def end(self, number: int, child: str) -> Lease | None:
        """The lease ends with an outcome; None when this child holds no such lease."""
        mine = self._of.get(child)
        lease = mine.pop(number, None) if mine else None
        if lease is not None:
            del self._leases[number]
            lease.work.lease = 0
        return lease

    def names(self) -> list[tuple[str, int]]:
        """The id and seq of each delivery that is in a child's hands."""
        return [(lease.work.delivery.id, lease.work.delivery.seq) for lease in self._leases.values()]

    def held_by(self, child: str) -> list[Lease]:
        """What a child has in its hands."""
        return list(self._of.get(child, {}).values())

    def release(self, child: str) -> list[Lease]:
        """The child is gone: all its leases end without an outcome."""
        lost = list(self._of.pop(child, {}).values())
        for lease in lost:
            del self._leases[lease.number]
            lease.work.lease = 0
        return lost
