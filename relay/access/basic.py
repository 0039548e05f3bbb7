"""Users that an HTTP service knows, asked as ZoneMTA asks: GET with Basic authentication."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from twisted.internet.defer import CancelledError, DeferredSemaphore, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

_log = Logger()

#: Questions under way at once.
_AT_ONCE = 20


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
        """`timeout` in seconds, for the whole answer."""
        parts = urlsplit(url)
        query = f"{parts.query}&transport=SMTP" if parts.query else "transport=SMTP"
        self._url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, "")).encode("ascii")
        self._timeout = timeout
        self._reactor = reactor
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._agent: Any = None

    async def knows(self, name: str, password: str) -> bool:
        """Whether it takes this name and password. Raises Unanswered."""
        await self._turns.acquire()
        try:
            return await self._ask(name, password)
        finally:
            self._turns.release()

    async def _ask(self, name: str, password: str) -> bool:
        from twisted.web.client import Agent
        from twisted.web.http_headers import Headers

        if self._agent is None:
            self._agent = Agent(self._reactor, connectTimeout=self._timeout)
        secret = base64.b64encode(f"{name}:{password}".encode())
        headers = Headers({b"Authorization": [b"Basic " + secret], b"User-Agent": [b"Zonerelay"]})
        asked = self._agent.request(b"GET", self._url, headers)
        try:
            response = await asked.addTimeout(self._timeout, self._reactor)
        except CancelledError:
            raise
        except TimeoutError:
            raise Unanswered(f"no answer within {self._timeout:g} s") from None
        except Exception as error:
            raise Unanswered(str(error) or type(error).__name__) from None
        response.deliverBody(_Ignored())
        if 200 <= response.code < 300:
            return True
        if response.code in (401, 403, 404):
            return False
        raise Unanswered(f"status {response.code}")
