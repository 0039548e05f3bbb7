"""Moments as operators say them."""

from __future__ import annotations

from datetime import datetime

from relay.cli.api import ApiError, plain


def moment(text: str, option: str) -> str:
    """The moment that an option of this name says, with its offset: without one the operator means the clock on the
    wall; "" for none. Raises ApiError."""
    if not text:
        return ""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise ApiError(f'{option}: expected a time such as "2026-12-01T08:00", got {plain(text)}') from None
