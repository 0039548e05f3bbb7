"""The Idempotency-Key of a request: what it has done isn't done again, and it is told the same."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from relay.http.answer import refusal
from relay.http.fields import wrong
from relay.intake.onetime import BadKey, Conflict, Key, OneTime, key_of
from relay.message.values import Origin

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

NAME = b"idempotency-key"


async def once(
    once: OneTime,
    request: ApiRequest,
    origin: Origin,
    said: tuple[bytes, ...],
    work: Callable[[Key | None], Coroutine[Deferred[Any], Any, bytes]],
) -> bytes:
    """The answer of `work`, which gets the key to remember it under, or that of the request with the same key before.
    `said`: what makes the request this one, beside method and path. Raises Problem: 400, 409; what `work` raises."""
    found = request.requestHeaders.getRawHeaders(NAME)
    if found is None:
        return await work(None)
    try:
        if len(found) > 1:
            raise BadKey("expected it once")
        whose = (request.caller.name, origin.user)
        key = key_of(whose, found[0].decode("latin-1").strip(" \t"), (request.method, request.path, *said))
    except BadKey as error:
        raise wrong("Idempotency-Key", str(error)) from None
    try:
        return await once.answer(key, lambda: work(key))
    except Conflict:
        text = "This Idempotency-Key stands for another request: one with another body or path"
        raise refusal(409, "Conflict", text) from None
