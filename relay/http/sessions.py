"""The resources of sessions: members of organisations log in for the API's pages, and out again."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from relay.access import session
from relay.access.access import Access, Locked
from relay.access.caller import Caller, Scope
from relay.access.exchange import Wrong
from relay.access.login import Client
from relay.access.mechanisms import Password
from relay.access.refused import Refused
from relay.access.register import Full
from relay.access.roll import Roll
from relay.access.session import Session
from relay.access.tenant import Member, Role
from relay.http.access import address_of
from relay.http.access_fields import clash, done
from relay.http.answer import RETRY_AFTER, Problem, failure, iso, refusal, shielded
from relay.http.credentials import cookie, token_of
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.porter import is_secure, wait
from relay.http.request import ApiRequest


class LoginGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who logs in."""

    user: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


class SessionShown(msgspec.Struct, frozen=True):
    """A session. Requests that change something bring `csrf_token` in X-CSRF-Token. It ends at `expires` where nothing
    more comes."""

    user: str
    tenant: str
    role: Role
    scopes: list[Scope]
    expires: str
    csrf_token: str


class SessionsApi:
    """The resources."""

    def __init__(self, roll: Roll, access: Access) -> None:
        self._roll = roll
        self._access = access

    @operation(
        "POST", "/v1/sessions", scope=None, tag="sessions", body=LoginGiven, answer=SessionShown, status=201,
        errors=(409,), is_open=True, audit="session.begun",
    )  # fmt: skip
    async def begin(self, call: Call) -> SessionShown:
        """Logs a member in.

        The session is a cookie, `zonerelay`, that no script can read.
        """
        asked: LoginGiven = call.body
        member = await self._member(Password(asked.user, asked.password), address_of(call.request.client))
        former = _token(call.request)
        if former:
            await done(self._roll.end(former))
        try:
            token = await done(self._roll.begin(member))
        except Full as error:
            raise clash(error) from None
        begun = self._roll.session(token)
        if begun is None:
            raise refusal(401, "Unauthorized", "The membership has ended")
        call.request.caller = self._access.admission.member(member)
        call.about = member.user
        _set(call.request, token, session.LONGEST // 1000)
        return self._shown(token, *begun)

    @operation("GET", "/v1/sessions/current", scope=None, tag="sessions", answer=SessionShown, errors=(404,))
    def current(self, call: Call) -> SessionShown:
        """The session of the one who asks."""
        token = _token(call.request)
        known = self._roll.session(token) if token and call.caller.by == "session" else None
        if known is None:
            raise refusal(404, "ResourceNotFound", "This is not a request of a session")
        return self._shown(token, *known)

    @operation("DELETE", "/v1/sessions/current", scope=None, tag="sessions", status=204, errors=(404,))
    async def end(self, call: Call) -> None:
        """Logs out."""
        token = _token(call.request)
        if call.caller.by != "session" or not token:
            raise refusal(404, "ResourceNotFound", "This is not a request of a session")
        await done(self._roll.end(token))
        _set(call.request, "", 0)

    async def _member(self, given: Password, address: str) -> Member:
        """Raises Problem: 401, 429, 503."""
        begun = self._access.seconds()
        if not given.name.isprintable():
            raise _wrong()
        try:
            # A client that goes away must not have its guess for nothing.
            return await shielded(Deferred.fromCoroutine(self._access.member(Client(address), given)))
        except Locked as locked:
            later = "Too many failed logins, try again later"
            raise refusal(429, "TooManyRequests", later, wait(locked.seconds)) from None
        except Refused:
            raise failure(503, "Too many passwords are being looked at", RETRY_AFTER) from None
        except Wrong as wrong:
            await self._access.told_late(wrong, begun)
            raise _wrong() from None

    def _shown(self, token: str, found: Session, member: Member) -> SessionShown:
        caller: Caller = self._access.admission.member(member)
        scopes = sorted(caller.scopes)
        return SessionShown(member.user, member.tenant, member.role, scopes, iso(found.expires), session.csrf(token))


def _wrong() -> Problem:
    return refusal(401, "Unauthorized", "Wrong name or password")


def _token(request: ApiRequest) -> str:
    return token_of(request.requestHeaders.getRawHeaders(b"cookie", []))


def _set(request: ApiRequest, token: str, seconds: int) -> None:
    request.responseHeaders.addRawHeader(b"Set-Cookie", cookie(token, seconds, is_secure(request)))
