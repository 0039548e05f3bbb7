"""Who may log in, and how much they may send: one place for all listeners, in the master.

A login is an exchange. Its mechanism says what has to be found out; here that is found out, by
the users' file or an HTTP service, and what a wrong guess costs is seen to.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.access.admission import Admission, Denied, user_of
from relay.access.apikey import read as key_in
from relay.access.basic import BasicService, Unanswered
from relay.access.cache import Cache
from relay.access.caller import Scope
from relay.access.directory import Directory
from relay.access.exchange import WRONG, LoginExchange, Wrong
from relay.access.guesses import Guesses, network_of
from relay.access.login import VOUCHED, Client
from relay.access.mechanisms import External, Login, Password, Plain, Voucher
from relay.access.passwords import MOST, Passwords
from relay.access.quota import Charge, Quotas, read_limit
from relay.access.refused import Refused
from relay.access.roll import Roll
from relay.access.scram import ITERATIONS, Keys, Scram
from relay.access.tenant import Member
from relay.access.turns import Turns
from relay.access.users import Users
from relay.config.schema import Access as Section
from relay.keep import InThread, Keep
from relay.message.user import User
from relay.smtp.reply import reply

_log = Logger()

_T = TypeVar("_T")

UNKNOWN = reply(504, "5.5.4 Error: Unrecognized authentication type")
TROUBLE = reply(454, "4.7.0 Temporary authentication failure")
NOT_FOR_MAIL = reply(535, "5.7.8 Error: this key is not for handing over mail")
REVOKED = reply(535, "5.7.8 Error: the key of this login is good no more")

_MECHANISMS: dict[str, Callable[[], Any]] = {
    "PLAIN": Plain,
    "LOGIN": Login,
    "SCRAM-SHA-256": lambda: Scram(secrets.token_urlsafe(24)),
    "EXTERNAL": External,
    VOUCHED: Voucher,
}


class Locked(Refused):
    """Nobody may try for so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(reply(421, f"4.7.0 Error: too many failed logins, try again in {seconds:.0f} seconds"))
        self.seconds = seconds


class Access:
    """All logins of this relay."""

    def __init__(self, section: Section, reactor: Any, now: Callable[[], int], roll: Roll) -> None:
        """`now` gives ms since the epoch; `roll` has the API's keys and members. Raises BadUsers."""
        self._reactor = reactor
        self._now = now
        self._users = Users(section.users, reactor.seconds) if section.users else None
        self._service = BasicService(section.url, section.timeout, reactor) if section.url else None
        self._guesses = Guesses(section.attempts, section.lock_out)
        self._roll = roll
        self.admission = Admission(roll, self._guesses, now, reactor.seconds)
        self._cache = Cache(section.cache)
        self._passwords = Passwords(reactor)
        self._turns = Turns(reactor)
        self._patience = section.timeout
        self._keep: Keep[float] | None = None
        self._secret = secrets.token_bytes(32)
        self.quotas = Quotas(
            [read_limit(text) for text in section.messages], [read_limit(text) for text in section.recipients]
        )
        self.directory = Directory(self._users, self.quotas, now)

    def usable(self, mechanisms: Sequence[str]) -> tuple[str, ...]:
        """Those of a listener's mechanisms by which somebody can log in here.

        Many clients take the strongest that they see and try no other. So beside PLAIN or LOGIN, by which
        everybody gets in, SCRAM is offered only where nobody would be shut out by it.
        """
        users = self._users
        scram = users is not None and users.any_with_keys()
        if scram and ("PLAIN" in mechanisms or "LOGIN" in mechanisms):
            everybody = users is not None and users.all_with_keys() and self._service is None
            scram = everybody and not self._roll.any_for_mail()
        can = {
            "PLAIN": True,
            "LOGIN": True,
            "SCRAM-SHA-256": scram,
            "EXTERNAL": users is not None,
        }
        return tuple(mechanism for mechanism in mechanisms if can[mechanism])

    def authenticate(self, mechanism: str, client: Client) -> LoginExchange:
        """Begin a login. Raises Refused for a mechanism that there isn't."""
        made = _MECHANISMS.get(mechanism)
        if made is None:
            raise Refused(UNKNOWN)
        return LoginExchange(self, made(), client)

    def charge(self, user: User, recipients: int) -> Charge | None:
        """Count a message of a user. Raises Refused when it is over a limit."""
        return self.quotas.charge(user, recipients, self._now() / 1000)

    def start(self, path: Path, in_thread: InThread = maybeDeferred) -> None:
        """Go on with the counts kept at `path`, and keep them there; the disk is waited for `in_thread`."""
        self._keep = Keep(
            self.quotas, path, self._reactor, lambda: self._now() / 1000, "counts of users", in_thread
        )
        self._keep.start()

    def stop(self) -> None:
        """No more logins."""
        self._passwords.stop()
        if self._keep is not None:
            self._keep.stop()

    # -- what exchanges ask

    def allow(self, client: Client, name: str) -> None:
        """Whether anybody may try to be `name` from there. Raises Refused (421)."""
        left = self._guesses.locked(client.address, name, self._reactor.seconds())
        if left:
            raise Locked(left)

    async def guess(self, client: Client, given: Password) -> User:
        """Whose password this is. Raises Refused and Wrong. Once begun it is counted, whether or not
        the client stays: who hangs up would have his guesses for nothing."""
        return await self._in_turn(client, given.name, lambda: self._judged(client, given))

    async def member(self, client: Client, given: Password) -> Member:
        """The same for the members of organisations, by whom the API is asked."""
        return await self._in_turn(client, given.name, lambda: self._member(client, given))

    async def _in_turn(self, client: Client, name: str, judge: Callable[[], Coroutine[Deferred[Any], Any, _T]]) -> _T:
        key = (network_of(client.address), name.lower())
        try:
            await self._turns.take(key).addTimeout(self._patience, self._reactor)
        except TimeoutError:
            raise Refused(TROUBLE) from None
        judging = Deferred.fromCoroutine(judge())

        def over(result: _T) -> _T:
            self._turns.give(key)
            return result

        return await _outliving(judging.addBoth(over))

    async def _judged(self, client: Client, given: Password) -> User:
        # Not earlier: while it waited for its turn others may have been wrong.
        self.allow(client, given.name)
        user = self._by_key(client, given) if key_in(given.password) else await self.by_password(given)
        if user is None:
            raise self.wrong(client, given.name, "wrong name or password")
        self.succeeded(client, user.name)
        return user

    async def _member(self, client: Client, given: Password) -> Member:
        self.allow(client, given.name)
        member = self._roll.members.get(given.name.lower())
        if self._passwords.waiting >= MOST:
            raise Refused(TROUBLE)
        right = await self._passwords.matches(given.password, "" if member is None else member.hash, None)
        if member is None or not right:
            raise self.wrong(client, given.name, "wrong name or password")
        self.succeeded(client, given.name)
        return member

    async def hashed(self, password: str) -> str:
        """What is kept of a member's password. Raises Refused (454): too many are being looked at."""
        if self._passwords.waiting >= MOST:
            raise Refused(TROUBLE)
        return await self._passwords.hashed(password)

    def _by_key(self, client: Client, given: Password) -> User | None:
        """The user that an API key makes of who logs in with it, by its name or its id. Raises Refused and Wrong."""
        try:
            key = self.admission.by_key(given.password, client.address)
        except Denied as denied:
            _log.info("a key shown by {client} is refused: {why}", client=client.address, why=str(denied))
            if denied.wait and not denied.known:
                raise Locked(denied.wait) from None
            if denied.wait:
                raise Refused(reply(454, f"4.7.0 {denied}, try again in {denied.wait:.0f} seconds")) from None
            raise Wrong(denied.pause) from None
        caller = self.admission.caller(key)
        if given.name.lower() not in (key.id, f"zr_{key.id}", key.name.lower(), key.user.lower()):
            return None
        if not caller.may(Scope.SUBMIT):
            raise Refused(NOT_FOR_MAIL)
        return user_of(caller, key=key.id)

    def check_stands(self, user: User) -> None:
        """A user who has logged in goes on. Raises Refused (535) where that was by a key that is good no more."""
        if user.key and not self.admission.stands(user.key):
            raise Refused(REVOKED)

    async def by_password(self, given: Password) -> User | None:
        """The user whose password this is."""
        name, password = given
        now, users = self._reactor.seconds(), self._users
        known = users.get(name) if users is not None else None
        generation = users.generation if users is not None else 0
        if self._cache.knows(name, password, generation, now) and (known is not None or self._service is not None):
            return known.user if known is not None else User(name)
        if known is None and self._service is not None and ":" not in name:
            try:
                right = await self._service.knows(name, password)
            except Unanswered as error:
                _log.error("the service that knows users gave no answer: {error}", error=str(error))
                raise Refused(TROUBLE) from None
        else:
            if self._passwords.waiting >= MOST:
                raise Refused(TROUBLE)
            right = await self._passwords.matches(
                password, known.hash if known is not None else "", known.keys if known is not None else None
            )
        if not right:
            return None
        self._cache.add(name, password, generation, now)
        return known.user if known is not None else User(name)

    def keys(self, name: str) -> Keys:
        """The SCRAM keys of a user; of somebody without any, keys that nobody knows the password of."""
        known = self._users.get(name) if self._users is not None else None
        if known is not None and known.keys is not None:
            return known.keys
        salt, stored, server = (
            hmac.digest(self._secret, f"{part} {name.lower()}".encode(), "sha256")
            for part in ("salt", "stored", "server")
        )
        return Keys(salt[:16], ITERATIONS, stored, server)

    def by_name(self, name: str) -> User | None:
        """A user of the file who has proven who it is."""
        known = self._users.get(name) if self._users is not None else None
        return known.user if known is not None and not known.disabled else None

    def by_word(self, name: str) -> User:
        """The user whom a trusted relay names; one that the file hasn't is held to what holds for everybody.
        Raises Refused (535) for one that was disabled."""
        known = self._users.get(name) if self._users is not None else None
        if known is not None and known.disabled:
            raise Refused(WRONG)
        return known.user if known is not None else User(name)

    def by_certificate(self, client: Client, name: str) -> User | None:
        """The user that a certificate is for: `name`, or without one the first that is known."""
        users = self._users
        if users is None:
            return None
        for subject in client.certificate:
            known = users.get(subject)
            if known is not None and not known.disabled and (not name or name.lower() == subject.lower()):
                return known.user
        return None

    def succeeded(self, client: Client, name: str) -> None:
        """They knew it."""
        self._guesses.succeeded(client.address, name, self._reactor.seconds())

    def wrong(self, client: Client, name: str, why: str) -> Wrong:
        """Count a wrong guess."""
        # A name is whatever somebody sent: quoted, it forges no line of the log.
        _log.info("login of {name!r} from {client} failed: {why}", name=name[:100], client=client.address, why=why)
        return Wrong(self._guesses.failed(client.address, name, self._reactor.seconds()))

    async def told_late(self, wrong: Wrong, begun: float) -> None:
        """Waits until it may be told. The pause is counted from the beginning of the guess, so that it
        doesn't show how long the check took, and by that which kind of user there is, if any."""
        await deferLater(self._reactor, max(0.0, begun + wrong.pause - self._reactor.seconds()))

    def seconds(self) -> float:
        """The time as pauses know it."""
        return float(self._reactor.seconds())


def _outliving(work: Deferred[_T]) -> Deferred[_T]:
    """Waits for `work`, which goes on when the wait is cancelled."""
    waiting: Deferred[_T] = Deferred()

    def failed(failure: Failure) -> None:
        if waiting.called and not failure.check(Refused, Wrong):
            _log.failure("a login could not be checked", failure)
        waiting.errback(failure)

    work.addCallbacks(waiting.callback, failed)
    return waiting
