"""What the API needs from the running relay, apart from queue and intake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.dispatch.operator import LeaseInfo


class Operator(Protocol):
    """What an operator may do by hand. What a child has in hand is left alone."""

    def delete(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Strike one delivery off, or all of a message; how many, once that is on disk."""

    def send_now(self, queue_id: str, seq: int | None) -> Deferred[int]:
        """Make one delivery due, or all of a message; how many, once that is on disk."""

    def leased(self, queue_id: str, seq: int) -> LeaseInfo | None:
        """Who has the delivery in hand."""


class Standing(NamedTuple):
    """How the relay stands: when it started (ms since the epoch), the configured zones as
    (name, disabled), and how many deliveries of a zone have ended since the start."""

    started_ms: int
    zones: Callable[[], Sequence[tuple[str, bool]]]
    processed: Callable[[str], int]
