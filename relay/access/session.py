"""A session of somebody who has logged in: what the browser is given, and what is kept.

The token is random and only its SHA-256 is kept. Another word is derived from it, which each request that changes
something has to bring in a header of its own: pages of other sites can make a browser send the token, but not that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

import msgspec

#: Over after so long without a request, and in any case (ms).
IDLE = 12 * 3600 * 1000
LONGEST = 7 * 86400 * 1000
#: Its last use is written down so much later, at the most (ms).
BEHIND = 600 * 1000


class Session(msgspec.Struct, frozen=True, gc=False):
    """One session; `created` and `used` are ms since the epoch."""

    user: str
    created: int
    used: int

    def is_over(self, now: int) -> bool:
        return now >= self.expires

    @property
    def expires(self) -> int:
        """When it is over, should nothing more come (ms)."""
        return min(self.used + IDLE, self.created + LONGEST)


def make() -> str:
    """A new token."""
    return secrets.token_urlsafe(32)


def kept_as(token: str) -> str:
    """The name that a session is kept by."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def csrf(token: str) -> str:
    """The other word."""
    words = hmac.digest(token.encode("utf-8", "replace"), b"zonerelay csrf", "sha256")
    return base64.urlsafe_b64encode(words).rstrip(b"=").decode()
