"""What a request says in fields: those of a JSON object, or those of its query. Whatever isn't known is refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from relay.config.plain import meant, shown
from relay.http.answer import Problem, refusal

_LONGEST_NAME = 60


def wrong(field: str, text: str) -> Problem:
    """A field that can't stand: 400 `{"code", "message", "field"}`."""
    field = field if len(field) <= _LONGEST_NAME else field[: _LONGEST_NAME - 3] + "..."
    return Problem(400, {"code": "InvalidArgument", "message": f"{field}: {text}", "field": field})


def body_of(request: Any, known: Collection[str]) -> dict[str, object]:
    """The fields of a JSON object, whatever the request calls its body.

    Raises:
        Problem: 400: it is none, or has others than `known`.
    """
    try:
        body = msgspec.json.decode(request.content.getvalue())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(400, "InvalidContent", f"Expected a JSON object: {error}") from None
    if not isinstance(body, dict):
        raise refusal(400, "InvalidContent", f"Expected a JSON object, got {shown(body)}")
    _check(body, known)
    return body


def query_of(request: Any, known: Collection[str]) -> dict[str, str]:
    """The fields of the query. Raises Problem: 400: others than `known`, one given twice, or no UTF-8."""
    fields: dict[str, str] = {}
    for name, values in request.args.items():
        key = name.decode("utf-8", "replace")
        if len(values) > 1:
            raise wrong(key, "expected it once")
        try:
            fields[key] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise wrong(key, "expected UTF-8") from None
    _check(fields, known)
    return fields


def text(fields: dict[str, object], name: str) -> str:
    """A field of characters; "" when it isn't there. Raises Problem."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise wrong(name, f"expected a string, got {'null' if value is None else shown(value)}")
    return value


def flag(fields: dict[str, object], name: str) -> bool:
    """A field that is true or false; false when it isn't there. Raises Problem."""
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise wrong(name, f"expected true or false, got {'null' if value is None else shown(value)}")
    return value


def number(fields: dict[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number of a query; None when it isn't there. Raises Problem."""
    value = fields.get(name)
    if value is None:
        return None
    digits = value.isascii() and value.isdigit() and len(value) <= len(str(most))
    if not digits or not least <= int(value) <= most:
        raise wrong(name, f"expected a whole number from {least} to {most}, got {shown(value)}")
    return int(value)


def _check(fields: Collection[str], known: Collection[str]) -> None:
    for name in fields:
        if name not in known:
            hint = meant(name[:_LONGEST_NAME], known) or "; expected one of " + ", ".join(known)
            raise wrong(name, "unknown field" + hint)
