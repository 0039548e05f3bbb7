"""Who asks: by the key or the session that a request shows, or as a program of this machine."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from relay.access import session
from relay.access.admission import Admission, Denied
from relay.access.caller import LOCAL, NOBODY, Caller
from relay.config.schema import Api
from relay.http.access import address_of, check_host, check_page, is_loopback
from relay.http.answer import Problem, refusal
from relay.http.credentials import key_of, token_of
from relay.net import tls

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

_log = Logger()

#: What changes nothing (RFC 9110 9.2.1).
SAFE = (b"GET", b"HEAD", b"OPTIONS")
_CHALLENGE = {b"WWW-Authenticate": b'Bearer realm="zonerelay"'}
#: By these a proxy on this machine says that it asks for somebody else.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
#: Has the name and password of a login in Authorization, see relay.http.test_auth.
_TEST_AUTH = b"/test-auth"


class Porter:
    """Looks at each request as soon as its header is there."""

    def __init__(self, options: Api, hostname: str, admission: Admission) -> None:
        self._options = options
        self._names = frozenset(("localhost", hostname.lower())) - {""}
        self._admission = admission
        # There may be a balancer before us that has taken TLS off.
        self._schemes = (b"http://", b"https://") if options.insecure_auth else (b"http://",)

    def caller(self, request: ApiRequest, is_open: bool) -> Caller:
        """Who asks; the request is told how to see later whether that still stands. A key or a session that is shown
        decides, wherever from; without one it is this machine's programs, where these are let in. `is_open`: what is
        asked for is for anybody.

        Raises:
            Problem: 400, 401, 403 or 429, whatever there is or isn't at that path.
        """
        headers = request.requestHeaders
        hosts, address = headers.getRawHeaders(b"host", []), address_of(request.client)
        if len(hosts) > 1:
            raise refusal(400, "BadRequest", "More than one Host header")
        secure = is_secure(request)
        sites, origins = headers.getRawHeaders(b"sec-fetch-site", []), headers.getRawHeaders(b"origin", [])
        check_page(hosts, origins, sites, schemes=(b"https://",) if secure else self._schemes)
        local = is_loopback(address)
        given = headers.getRawHeaders(b"authorization", [])
        if given and not (local and request.path == _TEST_AUTH):
            self._check_private(secure, local)
            return self._by_key(request, given, address)
        # Who logs in anew has no use for the session of before.
        token = "" if is_open else token_of(headers.getRawHeaders(b"cookie", []))
        known = self._admission.roll.session(token) if token else None
        if known is not None:
            self._check_private(secure, local)
            _, member = known
            if request.method not in SAFE:
                _check_csrf(token, headers.getRawHeaders(b"x-csrf-token", []))
            request.stands = partial(self._admission.roll.lasts, token)
            return self._admission.member(member)
        forwarded = any(headers.hasHeader(name) for name in _FORWARDED)
        if local and self._options.open_loopback and not forwarded:
            check_host(hosts, self._names)
            return LOCAL
        if is_open:
            self._check_private(secure, local)
            return NOBODY
        raise refusal(401, "Unauthorized", "This needs an API key", _CHALLENGE)

    def _check_private(self, secure: bool, local: bool) -> None:
        """What is shown can't be read on the way."""
        if not (secure or local or self._options.insecure_auth):
            raise refusal(403, "TlsRequired", "Keys and passwords are taken over TLS only")

    def _by_key(self, request: ApiRequest, given: Sequence[bytes], address: str) -> Caller:
        if len(given) > 1:
            raise refusal(400, "BadRequest", "More than one Authorization header")
        try:
            key = self._admission.by_key(key_of(given[0]), address)
        except Denied as denied:
            if not denied.wait:  # Who is locked out, or too quick, fills no log.
                _log.info("a key shown by {client} is refused: {why}", client=address, why=str(denied))
            raise _told(denied) from None
        request.stands = partial(self._admission.stands, key.id)
        return self._admission.caller(key)


def is_secure(request: ApiRequest) -> bool:
    """Whether it comes over TLS."""
    return bool(tls.description(request.channel.transport))


def wait(seconds: float) -> dict[bytes, bytes]:
    """The field that says when to ask again."""
    return {b"Retry-After": b"%d" % max(1, -(-seconds // 1))}


def _told(denied: Denied) -> Problem:
    if denied.wait:
        return refusal(429, "TooManyRequests", str(denied), wait(denied.wait))
    if denied.known:
        return refusal(403, "Forbidden", str(denied))
    return refusal(401, "Unauthorized", str(denied), _CHALLENGE)


def _check_csrf(token: str, given: Sequence[bytes]) -> None:
    if len(given) != 1 or not hmac.compare_digest(given[0], session.csrf(token).encode()):
        raise refusal(403, "CsrfTokenNeeded", "X-CSRF-Token has to be that of the session")
