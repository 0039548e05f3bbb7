"""What takes events from a reader, and what it may use for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.config.urls import Url
from relay.message.event import Numbered


class Taker(Protocol):
    """One end to which events go.

    Attributes:
        where: to whom, as it may be shown.
    """

    where: str

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """Fires when they are taken for good, with the status of an answer by HTTP, 0: there is none. Fails when they
        are not, all or some of them: they come again. May be cancelled."""

    def stop(self) -> None:
        """There are no more: let go of what is open."""


class Answered(Protocol):
    """What a web server says: a status, for how many seconds it wants to be left alone (0: it doesn't say), and how
    its text begins, which can be logged."""

    @property
    def status(self) -> int: ...
    @property
    def retry_after(self) -> float: ...
    @property
    def text(self) -> str: ...


class Web(Protocol):
    """Posts over HTTP (relay.net.web)."""

    async def post(
        self, url: Url, headers: Mapping[str, str], body: bytes, timeout: float, allow_private: bool
    ) -> Answered:
        """The answer, whatever it is. Raises something when there is none within `timeout` seconds, or may not be:
        its text can be logged."""


class Handshake(Protocol):
    """What `startTLS` is to be given for one connection (relay.net.client_tls)."""

    def distrust(self) -> str:
        """After it: why the host hasn't proven that it is the host; "" when it has."""


class Means(NamedTuple):
    """What takers are made with."""

    reactor: Any
    #: Milliseconds since the epoch.
    now: Callable[[], int]
    #: The name of the relay.
    hostname: str
    #: Runs a function where it may take a while.
    in_thread: Callable[..., Deferred[Any]]
    web: Web
    #: The addresses of a host, by its name; fails with an error that can be logged.
    addresses: Callable[[str], Deferred[list[str]]]
    #: A handshake with a host, by its name or address; raises an error that can be logged.
    handshake: Callable[[str], Handshake]
