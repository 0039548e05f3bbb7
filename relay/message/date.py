"""Dates as mail writes them (RFC 5322 3.3), from and to milliseconds since the epoch."""

from __future__ import annotations

import time
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MAX_LENGTH = 128


def date_of(when_ms: int) -> str:
    """`Sun, 22 Nov 2026 03:58:10 +0000`; made once per second, however often it is asked for."""
    return _date_of(when_ms // 1000)


@lru_cache(maxsize=16)
def _date_of(seconds: int) -> str:
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    )


def parse_date(text: str) -> int | None:
    """Milliseconds since the epoch, or None when `text` is no date that can be made out."""
    return None if len(text) > _MAX_LENGTH else _parsed(text)


@lru_cache(maxsize=64)
def _parsed(text: str) -> int | None:
    try:
        parts = parsedate_tz(text)
        # What is no day or time of day is carried over by the library: that would be a guess.
        if parts is None or not (1 <= parts[2] <= 31 and parts[3] < 24 and parts[4] < 60 and parts[5] < 61):
            return None
        return int(mktime_tz(parts) * 1000)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
