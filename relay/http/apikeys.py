"""The resources of API keys: made, listed, revoked. What is secret of one is told once, when it is made."""

from __future__ import annotations

from collections.abc import Callable

from relay.access.apikey import ApiKey
from relay.access.caller import Caller, Scope
from relay.access.register import Full
from relay.access.roll import Roll, Taken
from relay.access.tenant import OWN
from relay.config.plain import shown
from relay.http.access_fields import (
    KeyList,
    KeyMade,
    KeyShown,
    NewKey,
    Paging,
    check_theirs,
    clash,
    domains_of,
    done,
    key_made,
    key_shown,
    missing,
    networks_of,
    rates_of,
)  # fmt: skip
from relay.http.answer import refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.moments import ending
from relay.http.operation import operation


class ApiKeysApi:
    """The resources."""

    def __init__(self, roll: Roll, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._roll = roll
        self._now = now

    @operation("GET", "/v1/keys", scope=Scope.ADMIN, tag="keys", query=Paging, answer=KeyList, by_tenant=True)
    def keys(self, call: Call) -> KeyList:
        """API keys, in the order of their ids."""
        tenant, query = call.caller.tenant, call.query
        page = self._roll.keys.page(query.cursor, query.limit + 1, lambda key: not tenant or key.tenant == tenant)
        items = [key_shown(key) for _, key in page[: query.limit]]
        return KeyList(items, items[-1].id if len(page) > query.limit else None)

    @operation("GET", "/v1/keys/{id}", scope=Scope.ADMIN, tag="keys", answer=KeyShown, by_tenant=True)
    def key(self, call: Call, id: str) -> KeyShown:
        """One API key."""
        return key_shown(self._key(call.caller, id))

    @operation(
        "POST", "/v1/keys", scope=Scope.ADMIN, tag="keys", body=NewKey, answer=KeyMade, status=201, errors=(409,),
        by_tenant=True, audit="key.created",
    )  # fmt: skip
    async def make(self, call: Call) -> KeyMade:
        """Makes an API key.

        The answer is the only place where it stands. Nobody gives a key more than they have themselves: scopes, tenant,
        domains.
        """
        asked: NewKey = call.body
        caller = call.caller
        key = ApiKey(
            "",
            asked.name,
            b"",
            self._scopes(caller, asked.scopes),
            self._tenant(caller, asked.tenant),
            domains_of(asked.domains),
            networks_of(asked.networks),
            rates_of(asked.rates),
            expires=ending(asked.duration, asked.expires, "expires", self._now()),
        )
        key = self._bound(caller, key)
        try:
            written = await done(self._roll.add_key(key))
        except (Taken, Full) as error:
            raise clash(error) from None
        made = self._roll.keys.get(written.id)
        if made is None:
            raise refusal(409, "Revoked", "It was revoked while it was made")
        call.about = f"{made.id} {made.user}"
        call.request.setHeader(b"Location", f"/v1/keys/{made.id}".encode("ascii"))
        return key_made(made, str(written))

    @operation(
        "DELETE", "/v1/keys/{id}", scope=Scope.ADMIN, tag="keys", answer=KeyShown, by_tenant=True, audit="key.revoked"
    )
    async def revoke(self, call: Call, id: str) -> KeyShown:
        """Revokes an API key: it opens nothing any more, from the next request and the next message on."""
        key = self._key(call.caller, id)
        await done(self._roll.revoke(id))
        call.about = f"{key.id} {key.user}"
        return key_shown(key)

    # -- inside

    def _key(self, caller: Caller, id: str) -> ApiKey:
        key = self._roll.keys.get(id)
        if key is None:
            raise missing(f"key {shown(id)}")
        check_theirs(caller, key.tenant, f"key {shown(id)}")
        return key

    def _scopes(self, caller: Caller, asked: list[Scope]) -> tuple[Scope, ...]:
        scopes = tuple(dict.fromkeys(asked))
        for scope in scopes:
            if not caller.may(scope):
                raise wrong("scopes", f"you have not the scope {scope} yourself")
        return scopes

    def _tenant(self, caller: Caller, asked: str) -> str:
        if caller.tenant:
            if asked not in ("", caller.tenant):
                raise wrong("tenant", f"expected your own, got {shown(asked)}")
            return caller.tenant
        if asked == OWN:
            raise wrong("tenant", "the relay's own keys name none")
        if asked and self._roll.tenants.get(asked) is None:
            raise wrong("tenant", f"there is no organisation {shown(asked)}")
        return asked

    def _bound(self, caller: Caller, key: ApiKey) -> ApiKey:
        """Within the domains of the one who makes it, and of its organisation."""
        tenant = self._roll.tenants.get(key.tenant)
        for allowed in (caller.domains, tenant.domains if tenant is not None else ()):
            for number, domain in enumerate(key.domains if allowed else ()):
                if domain not in allowed:
                    raise wrong(f"domains[{number}]", f"{domain} is not among {', '.join(allowed)[:300]}")
        if caller.domains and not key.domains:
            raise wrong("domains", "expected some of " + ", ".join(caller.domains)[:300])
        if tenant is not None and Scope.IMPERSONATE in key.scopes:
            raise wrong("scopes", "no key of an organisation has the scope impersonate")
        return key
