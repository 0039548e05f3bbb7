"""Keys, organisations, members and sessions together: what is made, changed and ended, and what goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec.structs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from relay.access import apikey, session
from relay.access.apikey import ApiKey, Written
from relay.access.caller import Scope
from relay.access.register import MOST_CHANGES, Change, Full, Records, Register
from relay.access.session import Session
from relay.access.tenant import OWN, Member, Role, Tenant
from relay.shelf import Shelf

_log = Logger()

_T = TypeVar("_T")

#: Of one organisation: so that all of it can go in one batch.
MOST_KEYS_EACH = MOST_MEMBERS_EACH = 400
#: Of one member; who has more loses the oldest.
MOST_SESSIONS_EACH = 20
#: When a key was used last is written down this seldom (ms).
_SELDOM = 3600 * 1000


class Taken(Exception):
    """Somebody, or something, has that name already; the text says who."""


class Roll:
    """All of them. What changes is in force at once, and fires when it is on stable storage."""

    def __init__(self, shelf: Shelf, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._now = now
        self.keys: Records[ApiKey] = Records("keys", b"k/", ApiKey, 10_000)
        self.tenants: Records[Tenant] = Records("organisations", b"t/", Tenant, 10_000)
        self.members: Records[Member] = Records("members", b"m/", Member, 10_000)
        self.sessions: Records[Session] = Records("sessions", b"s/", Session, 10_000)
        self._register = Register(shelf, (self.keys, self.tenants, self.members, self.sessions))

    def open(self) -> None:
        """Go on from what is on the shelf. Raises StoreError."""
        self._register.open()

    # -- keys

    def any_for_mail(self) -> bool:
        """Whether somebody can hand over mail with a key."""
        return any(Scope.SUBMIT in key.scopes for key in self.keys)

    def add_key(self, key: ApiKey) -> Deferred[Written]:
        """A new key, as `key` has it but for id, hash and time. Fires with what to show once. Raises Taken, Full."""
        same = [one for one in self.keys if one.tenant == key.tenant]
        if any(one.name.lower() == key.name.lower() for one in same):
            raise Taken(f"there is a key {key.name} already")
        if key.tenant and len(same) >= MOST_KEYS_EACH:
            raise Full(f"{key.tenant} has {MOST_KEYS_EACH} keys already")
        written = apikey.make()
        while self.keys.get(written.id) is not None:
            written = apikey.make()
        made = msgspec.structs.replace(key, id=written.id, hash=apikey.hashed(written.secret), created=self._now())
        return self._register.write((self.keys, made.id, made)).addCallback(lambda _: written)

    def revoke(self, id: str) -> Deferred[None]:
        """It opens nothing any more."""
        return self._register.write((self.keys, id, None))

    def used(self, key: ApiKey) -> None:
        """A key was used just now."""
        now = self._now()
        if now - key.used < _SELDOM:
            return
        self._seldom(self.keys, key.id, msgspec.structs.replace(key, used=now))

    # -- organisations and their members

    def tenant(self, id: str) -> Tenant | None:
        """The organisation; OWN is always there."""
        return self.tenants.get(id) or (Tenant(OWN, "The relay itself") if id == OWN else None)

    def add_tenant(self, tenant: Tenant) -> Deferred[Tenant]:
        """A new one. Raises Taken, Full: what tells two of them apart is more than capitals."""
        for id in (OWN, *(one.id for one in self.tenants)):
            if id.lower() == tenant.id.lower():
                raise Taken(f"there is an organisation {id} already")
        return self._put(self.tenants, tenant.id, msgspec.structs.replace(tenant, created=self._now()))

    def change_tenant(self, tenant: Tenant) -> Deferred[Tenant]:
        """It is as this says from now on; its id stays."""
        return self._put(self.tenants, tenant.id, tenant)

    def drop_tenant(self, id: str) -> Deferred[None]:
        """It goes, with its keys and members."""
        changes: list[Change] = [(self.tenants, id, None)]
        changes += [(self.keys, key.id, None) for key in self.keys if key.tenant == id]
        changes += [(self.members, member.user, None) for member in self.members if member.tenant == id]
        assert len(changes) <= MOST_CHANGES
        return self._register.write(*changes)

    def add_member(self, user: str, tenant: str, role: Role, hash: str) -> Deferred[Member]:
        """A new member of a tenant, by a name in lower case and the hash of a password. Raises Taken, Full."""
        if self.members.get(user) is not None:
            raise Taken(f"somebody logs in as {user} already")
        if sum(one.tenant == tenant for one in self.members) >= MOST_MEMBERS_EACH:
            raise Full(f"{tenant} has {MOST_MEMBERS_EACH} members already")
        now = self._now()
        return self._put(self.members, user, Member(user, tenant, role, hash, now, now))

    def change_member(self, member: Member, role: Role | None = None, hash: str = "") -> Deferred[Member]:
        """Another role, or another password, which ends the member's sessions."""
        changed = msgspec.structs.replace(member, role=role or member.role)
        if hash:
            # Later than every session there is, whatever the clock says.
            begun = [one.created for _, one in self._sessions_of(member.user)]
            changed = msgspec.structs.replace(changed, hash=hash, since=max([self._now(), *(ms + 1 for ms in begun)]))
        return self._put(self.members, member.user, changed)

    def drop_member(self, user: str) -> Deferred[None]:
        """He or she can't log in any more."""
        return self._register.write((self.members, user, None), *self._gone(self._sessions_of(user)))

    # -- sessions

    def begin(self, member: Member) -> Deferred[str]:
        """A member has logged in: fires with the token. Raises Full."""
        now, token = self._now(), session.make()
        gone = [entry for entry in self.sessions.items() if self._is_over(entry[1], now)][:MOST_CHANGES]
        there = [entry for entry in self._sessions_of(member.user) if not self._is_over(entry[1], now)]
        there.sort(key=lambda entry: entry[1].created)
        gone += there[: max(0, len(there) + 1 - MOST_SESSIONS_EACH)]
        made = Session(member.user, max(now, member.since), now)
        name = session.kept_as(token)
        # Those that are over make room first.
        self._drop(gone)
        return self._register.write((self.sessions, name, made)).addCallback(lambda _: token)

    def session(self, token: str) -> tuple[Session, Member] | None:
        """The session of that token and whose it is; None: there is none, or it is over. It has been used now."""
        name, now = session.kept_as(token), self._now()
        found = self.sessions.get(name)
        if found is None:
            return None
        member = self.members.get(found.user)
        if member is None or self._is_over(found, now):
            self._drop([(name, found)])
            return None
        if now - found.used >= session.BEHIND:
            found = msgspec.structs.replace(found, used=now)
            self._seldom(self.sessions, name, found)
        return found, member

    def lasts(self, token: str) -> bool:
        """Whether there is a session of that token, which isn't used by the question."""
        found = self.sessions.get(session.kept_as(token))
        return found is not None and not self._is_over(found, self._now())

    def end(self, token: str) -> Deferred[None]:
        """The session of that token is over."""
        name = session.kept_as(token)
        return succeed(None) if self.sessions.get(name) is None else self._register.write((self.sessions, name, None))

    # -- inside

    def _is_over(self, one: Session, now: int) -> bool:
        member = self.members.get(one.user)
        return one.is_over(now) or member is None or one.created < member.since

    def _sessions_of(self, user: str) -> list[tuple[str, Session]]:
        return [entry for entry in self.sessions.items() if entry[1].user == user]

    def _gone(self, entries: Iterable[tuple[str, Session]]) -> list[Change]:
        return [(self.sessions, name, None) for name, _ in entries]

    def _drop(self, entries: list[tuple[str, Session]]) -> None:
        if entries:
            self._register.write(*self._gone(entries)).addErrback(
                lambda failure: _log.info("sessions that are over stay: {error}", error=str(failure.value))
            )

    def _seldom(self, kind: Records[Any], name: str, record: object) -> None:
        """Note a use; where that can't be written, the next one will be."""
        self._register.write((kind, name, record)).addErrback(lambda failure: None)

    def _put(self, kind: Records[_T], name: str, record: _T) -> Deferred[_T]:
        return self._register.write((kind, name, record)).addCallback(lambda _: record)
