"""What sinks are made with, in a test: a web server that says what it is told to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from relay.config.urls import Url
from relay.events.taker import Means
from relay.message.event import Event, Numbered

NOW = 1_795_319_890_123


class Answer(NamedTuple):
    status: int
    retry_after: float = 0.0
    text: str = ""


class Posted(NamedTuple):
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float
    allow_private: bool


class FakeWeb:
    """Answers what `judge` says of each body: an Answer, an error that is raised, or a Deferred of one."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.judge: Any = lambda body: Answer(200)
        self.open = self.most = 0

    async def post(
        self, url: Url, headers: Mapping[str, str], body: bytes, timeout: float, allow_private: bool
    ) -> Answer:
        self.posted.append(Posted(str(url), headers, body, timeout, allow_private))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            answer = self.judge(body)
            if isinstance(answer, Deferred):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]
        finally:
            self.open -= 1


def means(reactor: Any, web: Any = None, addresses: Any = None, handshake: Any = None) -> Means:
    """Threads run at once."""
    return Means(
        reactor,
        lambda: NOW,
        "relay.test",
        maybeDeferred,
        web or FakeWeb(),
        addresses or (lambda host: succeed(["192.0.2.1"])),
        handshake,
    )


def numbered(number: int, kind: str = "delivered", **fields: Any) -> Numbered:
    """An event of a delivery."""
    given = {"id": "1a20169d1ea0007acc", "seq": 1, "sender": "me@src.test", "recipient": "you@to.test", **fields}
    return Numbered(number, Event(kind, NOW, **given))
