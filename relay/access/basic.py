"""Users that an HTTP service knows, asked as ZoneMTA asks: GET with Basic authentication."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from twisted.internet.defer import CancelledError, DeferredSemaphore, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

_log = Logger()

#: Questions under way at once, and those that may wait.
_AT_ONCE, _MOST_WAITING = 20, 200


class Unanswered(Exception):
    """The service gave no answer that means yes or no."""


class _Ignored(Protocol):
    """A body that says nothing that matters."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class BasicService:
    """One service, at one URL."""

    def __init__(self, url: str, timeout: float, reactor: Any) -> None:
        """`timeout` in seconds, for the whole answer and the wait to ask."""
        parts = urlsplit(url)
        query = f"{parts.query}&transport=SMTP" if parts.query else "transport=SMTP"
        self._url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, "")).encode("ascii")
        self._timeout = timeout
        self._reactor = reactor
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._agent: Any = None

    async def knows(self, name: str, password: str) -> bool:
        """Whether it takes this name and password. Raises Unanswered."""
        until = self._reactor.seconds() + self._timeout
        if len(self._turns.waiting) >= _MOST_WAITING:
            raise Unanswered("too many questions wait for it")
        try:
            await self._turns.acquire().addTimeout(self._timeout, self._reactor)
        except TimeoutError:
            raise Unanswered(f"too many questions under way for {self._timeout:g} s") from None
        try:
            return await self._ask(name, password, max(0.0, until - self._reactor.seconds()))
        finally:
            self._turns.release()

    async def _ask(self, name: str, password: str, left: float) -> bool:
        from twisted.web.client import Agent
        from twisted.web.http_headers import Headers

        if self._agent is None:
            self._agent = Agent(self._reactor, connectTimeout=self._timeout)
        secret = base64.b64encode(f"{name}:{password}".encode())
        headers = Headers({b"Authorization": [b"Basic " + secret], b"User-Agent": [b"Zonerelay"]})
        asked = self._agent.request(b"GET", self._url, headers)
        try:
            response = await asked.addTimeout(left, self._reactor)
        except CancelledError:
            raise
        except TimeoutError:
            raise Unanswered(f"no answer within {self._timeout:g} s") from None
        except Exception as error:
            raise Unanswered(str(error) or type(error).__name__) from None
        response.deliverBody(_Ignored())
        if 200 <= response.code < 300:
            return True
        if response.code in (401, 403):
            return False
        raise Unanswered(f"status {response.code}")
