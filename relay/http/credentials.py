"""What a request brings along to say who asks: a key in its Authorization field, or the cookie of a session."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie

#: The cookie with the token of a session.
COOKIE = "zonerelay"
#: Longest field that is looked into (bytes).
_LONGEST = 8 * 1024


def key_of(field: bytes) -> str:
    """The key in an Authorization field: that of `Bearer KEY`, or the password of Basic with any name (RFC 6750 2.1,
    RFC 7617 2); "" for anything else."""
    scheme, _, rest = field[:_LONGEST].strip().partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"bearer":
        return rest.decode("ascii", "replace")
    if scheme.lower() != b"basic":
        return ""
    try:
        _, _, password = base64.b64decode(rest, validate=True).partition(b":")
    except ValueError:
        return ""
    return password.decode("ascii", "replace")


def token_of(fields: Sequence[bytes]) -> str:
    """The token in the Cookie fields, "" where there is none."""
    for field in fields:
        if len(field) > _LONGEST:
            continue
        try:
            cookies = SimpleCookie(field.decode("ascii", "replace"))
        except CookieError:
            continue
        if COOKIE in cookies:
            return cookies[COOKIE].value
    return ""


def cookie(token: str, seconds: int, secure: bool) -> bytes:
    """The field that gives a browser the token for so long; 0: that takes it away again."""
    said = f"{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return (said + "; Secure" if secure else said).encode("ascii")
