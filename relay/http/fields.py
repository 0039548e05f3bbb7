"""A field of a request that can't stand: said in one way everywhere."""

from __future__ import annotations

from relay.http.answer import Problem

_LONGEST_NAME = 60


def wrong(field: str, text: str) -> Problem:
    """A field that can't stand: 400 `{"code", "message", "field"}`."""
    field = field if len(field) <= _LONGEST_NAME else field[: _LONGEST_NAME - 3] + "..."
    return Problem(400, {"code": "InvalidArgument", "message": f"{field}: {text}", "field": field})
