"""Good logins, remembered for a while, so that a program that logs in for each message is cheap."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict

_MOST = 10_000


class Cache:
    """Remembers that a password was right, but not the password: a keyed hash that means nothing
    outside this process. `generation` is that of the users' file: with a new one all is forgotten."""

    def __init__(self, seconds: float) -> None:
        """How long, 0 for not at all."""
        self._seconds = seconds
        self._secret = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def knows(self, name: str, password: str, generation: int, now: float) -> bool:
        """Whether this was right lately."""
        until, of = self._until.get(self._key(name, password), (0.0, -1))
        return now < until and of == generation

    def add(self, name: str, password: str, generation: int, now: float) -> None:
        """It was right just now."""
        if not self._seconds:
            return
        key = self._key(name, password)
        self._until[key] = (now + self._seconds, generation)
        self._until.move_to_end(key)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def _key(self, name: str, password: str) -> bytes:
        return hmac.digest(self._secret, f"{name}\0{password}".encode(), "sha256")
