"""`/unsubscribe/<token>`: a recipient wants no more, by one click (RFC 8058) or by hand.

The only resource that is for strangers: whoever has the token may use it, wherever from and from whichever page. So
it does nothing else, and no more than so often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from msgspec import field

from relay.http.access import address_of
from relay.http.answer import refusal
from relay.http.frame import Call
from relay.http.operation import FORM, operation

#: Where it lies; what is said of who may speak to the API doesn't hold below.
PLACE = b"/unsubscribe/"
#: Wishes that are taken in a second.
MOST = 50
#: What a request of one click has in it, in either form (RFC 8058 3.1, 8).
_CLICK = (b"List-Unsubscribe=One-Click", b'name="List-Unsubscribe"')

_PAGE = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Unsubscribe</title>
<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex"></head>
<body>%b</body></html>
"""
_ASK = _PAGE % (
    b'<form method="post"><p>Do you want no more of this mail?</p>'
    b'<input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form>'
)
_DONE = _PAGE % b"<p>You are unsubscribed.</p>"


class Click(msgspec.Struct, frozen=True):
    """What mail programs send (RFC 8058 3.1)."""

    click: Literal["One-Click"] = field(name="List-Unsubscribe")


class Wishes(Protocol):
    """Who writes them down."""

    def knows(self, token: str) -> bool:
        """Whether the token is one of ours. Takes no time."""

    async def wish(self, token: str, client: str) -> bool:
        """Whether the token is one of ours; then it is on disk. Raises StoreError."""


class UnsubscribeApi:
    """The resource."""

    def __init__(self, wishes: Wishes | None, seconds: Callable[[], float]) -> None:
        """`wishes` None: nobody can be unsubscribed here. `seconds` is a clock that never jumps."""
        self._wishes = wishes
        self._seconds = seconds
        self._second = -1
        self._taken = 0

    @operation("GET", "/unsubscribe/{token}", scope=None, tag="unsubscribe", gives="text/html")
    def ask(self, call: Call, token: str) -> bytes:
        """Shows a page with a button to unsubscribe.

        For programs that look at links must not unsubscribe anybody. It says nothing of the token.
        """
        self._check()
        return _page(call.request, _ASK)

    @operation(
        "POST",
        "/unsubscribe/{token}",
        scope=None,
        tag="unsubscribe",
        takes={FORM: Click, "multipart/form-data": Click},
        gives="text/html",
    )
    async def unsubscribe(self, call: Call, token: str) -> bytes:
        """Takes the wish of a recipient who wants no more of that mail.

        By one click (RFC 8058), or by the button of the page.
        """
        wishes = self._check()
        if not any(word in call.request.content.getvalue() for word in _CLICK):
            raise refusal(400, "BadRequest", "Expected List-Unsubscribe=One-Click")
        unknown = refusal(404, "ResourceNotFound", "No such address to unsubscribe at")
        if not wishes.knows(token):
            # Guesses cost nothing, and must not use up what those have who mean it.
            raise unknown
        self._count()
        if not await wishes.wish(token, address_of(call.request.client)):
            raise unknown
        return _page(call.request, _DONE)

    def _check(self) -> Wishes:
        if self._wishes is None:
            raise refusal(404, "ResourceNotFound", "/unsubscribe does not exist")
        return self._wishes

    def _count(self) -> None:
        second = int(self._seconds())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken > MOST:
            raise refusal(429, "TooManyRequests", "Too many at once, try again later", {b"Retry-After": b"2"})


def _page(request: Any, body: bytes) -> bytes:
    for name, value in (
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Content-Security-Policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-store"),
    ):
        request.setHeader(name, value)
    return body
