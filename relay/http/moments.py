"""Moments as a client says them, and when something ends: after a duration, or at a moment."""

from __future__ import annotations

from datetime import datetime

from relay.config import units
from relay.config.plain import shown
from relay.http.fields import wrong

_MOMENT = 'a moment with its offset such as "2026-12-01T08:00:00Z" or "2026-12-01T09:00+01:00"'
_LATEST = 253402300799999  # the end of the year 9999 (ms)


def ending(duration: str, moment: str, name: str, now: int) -> int:
    """When it ends (ms since the epoch): `duration` from `now`, or at the `moment` of the field of that name; 0 where
    neither is given. Raises Problem."""
    if duration and moment:
        raise wrong(name, "expected it or duration, got both")
    if duration:
        try:
            ms = int(units.duration(duration) * 1000)
        except units.UnitError as error:
            raise wrong("duration", f"expected {error}, got {shown(duration)}") from None
        if not ms:
            raise wrong("duration", f"expected a duration above 0, got {shown(duration)}")
        return now + ms
    if not moment:
        return 0
    when = at(moment, name)
    if when <= now:
        raise wrong(name, f"expected a time to come, got {shown(moment)}")
    return when


def at(moment: str, name: str) -> int:
    """A moment of the field of that name, in ms since the epoch. Raises Problem."""
    try:
        read = datetime.fromisoformat(moment)
        if read.tzinfo is None:
            raise ValueError
        when = int(read.timestamp() * 1000)
        if not 0 <= when <= _LATEST:
            raise ValueError
    except (ValueError, OverflowError):
        raise wrong(name, f"expected {_MOMENT}, got {shown(moment)}") from None
    return when
