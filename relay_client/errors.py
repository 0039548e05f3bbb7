"""What can go wrong with a question."""

from __future__ import annotations

import json
from http import HTTPStatus

from relay_client.ask import Reply


class RelayError(Exception):
    """Either of the two below."""


class NoAnswer(RelayError):
    """Nobody answers in time, or no relay does. Whether a change was made isn't known."""


class ApiProblem(RelayError):
    """The relay refuses: nothing was done.

    `status` is that of HTTP, `code` is for programs, `detail` for people, and `field` says which field of the request
    is wrong, "" where none is. `retry_after` is how long to wait in seconds, where it says so.

        >>> try:
        ...     relay.zones.one("nowhere")
        ... except ApiProblem as problem:
        ...     print(problem.status, problem.code)
        404 ResourceNotFound
    """

    def __init__(
        self, status: int, code: str, detail: str, field: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if code else f"{status}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after = retry_after


def problem(reply: Reply, retry_after: float | None) -> ApiProblem:
    """What a refusal says: problem+json, or the shapes of the paths that ZoneMTA has too; anything, from a proxy."""
    try:
        told = json.loads(reply.body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        told = {}
    texts = {name: value for name, value in told.items() if isinstance(value, str)}
    detail = texts.get("detail") or texts.get("message") or texts.get("error") or _phrase(reply.status)
    return ApiProblem(reply.status, texts.get("code", ""), detail, texts.get("field", ""), retry_after)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "refused"
