"""The list of those who get no mail, on a shelf: looked up before each attempt, changed one batch at a time.

A look-up is a `get` or a few, whatever the length of the list and whether it finds somebody, and nothing at all where
the list is empty. What the entry says that was found is one more, for whoever tells of it. Nothing of the list is in
memory but its length, and what was looked up last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec.structs
from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.flow import known_as
from relay.shelf import Shelf
from relay.suppression import keys
from relay.suppression.changes import Changes
from relay.suppression.draft import Draft, Standing, read, read_standing
from relay.suppression.entry import Entry, Stop
from relay.suppression.ids import Ids
from relay.suppression.whom import mailbox

_log = Logger()

#: Answers of the shelf that are kept.
_KNOWN = 4096
#: Entries that are read, or taken away, in one go.
PAGE = 100


class Added(NamedTuple):
    """The entry that is on the list now, and whether it is another than before."""

    entry: Entry
    changed: bool


class Suppressions:
    """The list. What it promises to have done is on stable storage.

    Attributes:
        count: entries, those among them that are over and not yet swept.
    """

    def __init__(self, shelf: Shelf, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._shelf = shelf
        self._now = now
        self._ids = Ids(now)
        self._changes = Changes(shelf, self._written, self._in_doubt)
        self._known: dict[bytes, Standing | None] = {}
        self._watchers: list[Callable[[bool], None]] = []
        self._unsure = False
        self.count = 0

    def open(self) -> None:
        """Go on from what is on the shelf. Raises StoreError."""
        newest = self._shelf.scan(b"i", keys.ENTRIES_END, 1)
        self._ids = Ids(self._now, keys.id_of(newest[0][0]) if newest else "")
        self._settle(self._changes.count())

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Have it told whether there is anybody on the list, now and whenever that changes."""
        self._watchers.append(watcher)
        watcher(self.count > 0)

    def unwatch(self, watcher: Callable[[bool], None]) -> None:
        self._watchers.remove(watcher)

    # -- looking up

    def find(self, owner: str, recipient: str) -> Stop | None:
        """What stops the mail of a tenant, or of a user without one ("": of nobody), to a recipient, which is a
        checked address, if anything does: the address rather than the domain, the owner's own rather than everybody's.
        Raises StoreError, or Damaged."""
        if self._unsure:
            self._settle(self._changes.count())
        if not self.count:
            return None
        whom = mailbox(recipient)
        domain = whom.rpartition("@")[2]
        tenants = (known_as(owner), "") if owner else ("",)
        now = self._now()
        for name in (whom, domain):
            for tenant in tenants:
                standing = self._at(keys.place(tenant, name))
                if standing is not None and not standing.is_over(now):
                    return Stop(name, tenant, standing.id)
        return None

    def told(self, stop: Stop) -> Entry:
        """The entry that was found; a bare one where it has gone since. Raises StoreError, or Damaged."""
        return self.entry(stop.id) or Entry(stop.whom, stop.tenant, id=stop.id)

    def exact(self, tenant: str, whom: str) -> Entry | None:
        """The entry for just that, if there is one that isn't over. Raises StoreError."""
        standing = self._at(keys.place(tenant, whom))
        return None if standing is None or standing.is_over(self._now()) else self.entry(standing.id)

    def entry(self, id: str) -> Entry | None:
        """The entry of that id, over or not. Raises StoreError."""
        return read(self._shelf.get(keys.entry(id)), id)

    def listed(self, after: str, limit: int = PAGE) -> list[Entry]:
        """The next entries, newest first, behind the one with the id `after`; "": from the first on. Those that are
        over are among them. Raises StoreError."""
        start = keys.entry(after) + b"\0" if after else b"i"
        found = self._shelf.scan(start, keys.ENTRIES_END, limit)
        return [entry for key, value in found if (entry := read(value, keys.id_of(key))) is not None]

    def is_over(self, entry: Entry) -> bool:
        return 0 < entry.expires <= self._now()

    def _at(self, place: bytes) -> Standing | None:
        known = self._known
        if place in known:
            return known[place]
        found = read_standing(self._shelf.get(place))
        if len(known) >= _KNOWN:
            del known[next(iter(known))]
        known[place] = found
        return found

    # -- changing

    def add(self, entry: Entry, weakly: bool = False) -> Deferred[Added]:
        """Put an entry on the list, in the place of one for the same, whose id and beginning it keeps. `weakly`: one
        that lasts as long stays. Fires when it is on disk; fails with StoreError."""
        return self._changes.make(lambda draft: self._put(draft, entry, self._old(draft, entry), weakly))

    def add_all(self, entries: Sequence[Entry]) -> Deferred[list[Added]]:
        """All of them, in order, in as few batches as that takes. Fires when they are on disk; fails with StoreError,
        and some may be on the list."""
        return gatherResults([self.add(entry) for entry in entries], consumeErrors=True).addErrback(_first)

    def remove(self, id: str) -> Deferred[Entry | None]:
        """Take the entry of that id away: fires with it when that is on disk; None: there was none."""
        return self._changes.make(lambda draft: self._remove(draft, draft.entry(id)))

    def remove_exact(self, tenant: str, whom: str) -> Deferred[Entry | None]:
        """Take the entry for just that away; as `remove`."""

        def change(draft: Draft) -> Entry | None:
            standing = draft.standing(keys.place(tenant, whom))
            return self._remove(draft, None if standing is None else draft.entry(standing.id))

        return self._changes.make(change)

    def bounced(self, entry: Entry, event: int, after: int, within: int) -> Deferred[Added | None]:
        """A hard bounce, told by the event of that number: the entry is put on the list weakly when there were `after`
        of them `within` so many ms. An event that is told again counts once."""

        def change(draft: Draft) -> Added | None:
            old, now = self._old(draft, entry), self._now()
            if after > 1 and draft.strike(keys.place(entry.tenant, entry.whom), event, now, now + within) < after:
                return None
            return self._put(draft, entry, old, weakly=True)

        return self._changes.make(change)

    def sweep(self) -> Deferred[int]:
        """Take away some of what is over: fires with how much that was once it is on disk; 0: there was nothing."""
        now = self._now()
        marks = [keys.read_end(key) for key, _ in self._shelf.scan(*keys.ended(now), PAGE)]
        if not marks:
            return succeed(0)

        def change(draft: Draft) -> int:
            found = [(expires, key, draft.get(key)) for expires, key in marks]
            for expires, key, value in found:
                draft.delete(keys.end(expires, key))
                if key[:1] == b"s":
                    if keys.read_strike(value)[2] == expires:
                        draft.delete(key)
                elif (entry := read(value, keys.id_of(key))) is not None and entry.expires == expires:
                    draft.remove(entry)
            return len(marks)

        return self._changes.make(change)

    # -- what changes consist of: first all is read, then changed, so that one that fails has changed nothing

    def _old(self, draft: Draft, entry: Entry) -> Entry | None:
        """What is in the place of an entry."""
        standing = draft.standing(keys.place(entry.tenant, entry.whom))
        return None if standing is None else draft.entry(standing.id)

    def _put(self, draft: Draft, entry: Entry, old: Entry | None, weakly: bool) -> Added:
        if old is None or self.is_over(old):
            new = msgspec.structs.replace(entry, id=self._ids.next(), created=entry.created or self._now())
        elif weakly and old.outlasts(entry):
            return Added(old, False)
        else:
            new = msgspec.structs.replace(entry, id=old.id, created=old.created)
            if new == old:
                return Added(old, False)
        if old is not None:
            draft.remove(old)
        draft.add(new)
        return Added(new, True)

    def _remove(self, draft: Draft, entry: Entry | None) -> Entry | None:
        if entry is not None:
            draft.forget_strikes(keys.place(entry.tenant, entry.whom))
            draft.remove(entry)
        return entry

    # -- what is known

    def _written(self, draft: Draft, count: int) -> None:
        for key in (*draft.put, *draft.gone):
            self._known.pop(key, None)
        self._settle(count)

    def _in_doubt(self) -> None:
        """What is on the shelf is read again."""
        self._known.clear()
        self._unsure = True

    def _settle(self, count: int) -> None:
        self._unsure = False
        changed = bool(count) != bool(self.count)
        self.count = count
        if changed:
            for watcher in list(self._watchers):
                watcher(count > 0)


def _first(failure: Failure) -> Failure:
    """The first failure of several, as it was."""
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure
