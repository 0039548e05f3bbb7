"""Answers of the API: JSON, and errors in the shapes clients of the original know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from relay.smtp.reply import Reply

#: JSON of a value.
encoded = msgspec.json.Encoder().encode
_status_code = re.compile(r"^\d\.\d{1,3}\.\d{1,3} (?:Error: )?").sub

_T = TypeVar("_T")

#: A time as `iso` writes it.
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
#: One in milliseconds since the epoch.
Milliseconds = Annotated[int, Meta(description="Milliseconds since the epoch")]

RETRY_AFTER = {b"Retry-After": b"30"}


class Problem(Exception):
    """A request that can't be served: HTTP status, JSON body, extra headers."""

    def __init__(
        self, status: int, body: Mapping[str, str], headers: Mapping[bytes, bytes] | None = None
    ) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def refusal(
    status: int, code: str, message: str, headers: Mapping[bytes, bytes] | None = None, field: str = ""
) -> Problem:
    """A request that is wrong in itself: `{"code", "message"}`, and `field` where it is one that is wrong."""
    return Problem(status, {"code": code, "message": message, **({"field": field} if field else {})}, headers)


def failure(status: int, text: str, headers: Mapping[bytes, bytes] | None = None) -> Problem:
    """A request that was understood and failed: `{"error"}`."""
    return Problem(status, {"error": text}, headers)


def from_reply(reply: Reply) -> Problem:
    """What SMTP would have said, said in HTTP."""
    text = _status_code("", reply.text)
    if reply.code == 452:
        return failure(507, text, RETRY_AFTER)
    if not reply.permanent:
        return failure(503, text, RETRY_AFTER)
    if reply.text.startswith("5.7.1 "):
        return failure(403, text)
    return failure(413 if reply.code == 552 else 400, text)


def answer(request: IRequest, value: object, status: int = 200) -> bytes:
    """Sets status and headers on `request`; the body to write."""
    return written(request, encoded(value), status)


def written(request: IRequest, body: bytes, status: int = 200) -> bytes:
    """The same for JSON that was encoded before."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.setHeader(b"Cache-Control", b"no-store")
    return body


def answer_problem(request: IRequest, problem: Problem) -> bytes:
    """As `answer`, for an error."""
    for name, value in problem.headers.items():
        request.setHeader(name, value)
    kind, body = told(problem, request.path)
    written(request, body, problem.status)
    request.setHeader(b"Content-Type", kind)
    return body


def told(problem: Problem, path: bytes) -> tuple[bytes, bytes]:
    """Type and text of an error on a path: under /v1, however that is spelt, as problem+json (RFC 9457), elsewhere in
    the original's shapes."""
    spelt = unquote_to_bytes(path).lstrip(b"/") + b"/"
    if not spelt.startswith(b"v1/"):
        return b"application/json", encoded(problem.body)
    said = dict(problem.body)
    title = HTTPStatus(problem.status).phrase
    shown = {
        "type": "about:blank",
        "title": title,
        "status": problem.status,
        "detail": said.pop("message", "") or said.pop("error", ""),
        "code": title.replace(" ", ""),
        **said,
    }
    return b"application/problem+json", encoded(shown)


def iso(when_ms: int) -> str:
    """`2026-11-22T03:58:10.123Z`."""
    moment = datetime.fromtimestamp(when_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shielded(work: Deferred[_T]) -> Deferred[_T]:
    """Waits for `work` without taking it along when the wait is cancelled: a client that
    goes away must not undo what is already being written."""
    waiting: Deferred[_T] = Deferred()
    work.addCallbacks(waiting.callback, waiting.errback)
    return waiting
