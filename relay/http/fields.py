"""A field of a request that can't stand: said in one way everywhere."""

from __future__ import annotations

from relay.http.answer import Problem

_LONGEST_NAME = 60


def wrong(field: str, text: str) -> Problem:
    """A field that can't stand: 400 `{"code", "message", "field"}`."""
    field = field if len(field) <= _LONGEST_NAME else field[: _LONGEST_NAME - 3] + "..."
    return Problem(400, {"code": "InvalidArgument", "message": f"{field}: {text}", "field": field})


def within(problem: Problem, where: str) -> Problem:
    """The same, where the field is one of something in the request, at `where`; "": of the request itself."""
    if not where or "field" not in problem.body:
        return problem
    body = dict(problem.body)
    body["field"], body["message"] = f"{where}.{body['field']}", f"{where}.{body['message']}"
    return Problem(problem.status, body, problem.headers)
