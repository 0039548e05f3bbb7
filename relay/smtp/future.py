"""When a message may leave at the earliest, as FUTURERELEASE asks for it (RFC 4865)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_seconds = re.compile(r"[0-9]{1,9}").fullmatch
#: RFC 3339 date-time; RFC 4865 4.2.1 has it in upper case.
_date_time = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
).fullmatch


def hold_for(value: str) -> int:
    """The value of HOLDFOR in seconds. Raises ValueError."""
    if _seconds(value) is None:
        raise ValueError("bad HOLDFOR")
    return int(value)


def hold_until(value: str) -> int:
    """The value of HOLDUNTIL in seconds since the epoch. Raises ValueError."""
    match = _date_time(value)
    if match is None:
        raise ValueError("bad HOLDUNTIL")
    day, time, zone = match.groups()
    try:
        return int(datetime.fromisoformat(f"{day}T{time}{zone}").timestamp())
    except OverflowError:
        raise ValueError("bad HOLDUNTIL") from None


def date_time(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return "9999-12-31T23:59:59Z"
