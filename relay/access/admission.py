"""Who shows a key or logs in, judged: whom it makes of the client, and what a wrong guess costs."""

from __future__ import annotations

from collections.abc import Callable

from relay.access import apikey
from relay.access.allowance import Allowance
from relay.access.apikey import ApiKey
from relay.access.caller import Caller, Scope
from relay.access.guesses import Guesses
from relay.access.roll import Roll
from relay.access.tenant import OWN, Member
from relay.config import units
from relay.message.user import User


class Denied(Exception):
    """Not let in: the text is for the client. `wait`: seconds after which it may be otherwise, if it may; `known`: what
    was shown is good, but not here or not now; `pause`: see Guesses.failed."""

    def __init__(self, text: str, wait: float = 0.0, known: bool = False, pause: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait
        self.known = known
        self.pause = pause


class Admission:
    """Asked by the API for each request, and by listeners where a password is a key."""

    def __init__(self, roll: Roll, guesses: Guesses, now: Callable[[], int], seconds: Callable[[], float]) -> None:
        """`guesses` are shared with whoever else counts them; `now` gives ms since the epoch, `seconds` those of a
        clock that never jumps."""
        self.roll = roll
        self._guesses = guesses
        self._now = now
        self._seconds = seconds
        self._allowances: dict[str, Allowance] = {}

    def by_key(self, text: str, address: str) -> ApiKey:
        """The key that somebody at `address` shows, which has been used once more. Raises Denied."""
        written = apikey.read(text)
        name = "" if written is None else f"zr_{written.id}"
        seconds = self._seconds()
        left = self._guesses.locked(address, name, seconds)
        if left:
            raise Denied("Too many wrong keys", left)
        key = None if written is None else self.roll.keys.get(written.id)
        if written is None or not apikey.knows(key, written.secret) or key is None:
            raise Denied("Wrong key", pause=self._guesses.failed(address, name, seconds))
        self._guesses.succeeded(address, name, seconds)
        if not self.stands(key.id):
            raise Denied("The key has expired")
        if not key.fits(address):
            raise Denied("The key may not be used from this address", known=True)
        self._charge(key, seconds)
        self.roll.used(key)
        return key

    def stands(self, id: str) -> bool:
        """Whether a key that was good is so still."""
        key = self.roll.keys.get(id)
        return key is not None and not key.is_over(self._now()) and (not key.tenant or self._has(key.tenant))

    def caller(self, key: ApiKey) -> Caller:
        """Whom a key makes of who shows it."""
        return self._caller(key.user, frozenset(key.scopes), key.tenant, key.domains, f"key {key.id}")

    def member(self, member: Member) -> Caller:
        """Whom a session makes of its member."""
        tenant = "" if member.tenant == OWN else member.tenant
        name = f"{tenant}/{member.user}" if tenant else member.user
        return self._caller(name, member.role.scopes, tenant, (), "session")

    def _has(self, tenant: str) -> bool:
        return self.roll.tenants.get(tenant) is not None

    def _caller(
        self, name: str, scopes: frozenset[Scope], tenant: str, domains: tuple[str, ...], by: str
    ) -> Caller:
        """What an organisation may not, none of its keys and members may."""
        whose = self.roll.tenants.get(tenant) if tenant else None
        if whose is not None:
            scopes -= {Scope.IMPERSONATE}
        if whose is not None and whose.domains:
            bound = domains
            domains = tuple(domain for domain in bound if domain in whose.domains) if bound else whose.domains
            if not domains:  # Nothing is left that it may send from; and () would be anything.
                scopes -= {Scope.SUBMIT}
        return Caller(name, scopes, tenant, domains, by)

    def _charge(self, key: ApiKey, seconds: float) -> None:
        if not key.rates:
            return
        rates = tuple(map(units.rate, key.rates))
        allowance = self._allowances.get(key.id)
        if allowance is None or allowance.rates != rates:
            if len(self._allowances) > 2 * len(self.roll.keys):
                self._allowances = {id: one for id, one in self._allowances.items() if self.roll.keys.get(id)}
            allowance = self._allowances[key.id] = Allowance(rates)
        wait = allowance.take(seconds)
        if wait:
            raise Denied("Too many requests with this key", wait, known=True)


def user_of(caller: Caller, name: str = "", key: str = "") -> User:
    """As whom a caller hands over mail; `name` where it speaks for somebody else, `key` by which it has logged in."""
    return User(
        name or caller.name,
        tuple(f"@{domain}" for domain in caller.domains),
        caller.domains,
        tenant=caller.tenant,
        key=key,
    )


