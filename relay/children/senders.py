"""What sender children are there for, and the journals they leave when they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from relay.channel.briefing import SenderBriefing
from relay.channel.codec import FROM_SENDER
from relay.channel.journal import Acceptance, decode, left_behind
from relay.children.child import Child

_log = Logger()


class Work(Protocol):
    """Who uses the senders."""

    def joined(self, child: Child) -> None: ...
    def frame(self, child: Child, frame: Any) -> None: ...
    def gone(self, child: Child, accepted: Sequence[Acceptance], crashed: bool) -> Deferred[None]:
        """Fires when the acceptances are on disk: only then the journal is removed."""


class Senders:
    """The trade of a sender (relay.children.roster): each has a zone and an outcome journal."""

    place = "zone"
    mark = ""
    module = "relay.delivery"
    tongue = FROM_SENDER
    soon = 3.0

    def __init__(self, briefing: Callable[[str, str], SenderBriefing], journals: Path, work: Work) -> None:
        """`briefing(zone, child id)` makes what a new child is told."""
        self.briefing = briefing
        self._journals = journals
        self._work = work
        self.joined = work.joined
        self.frame = work.frame

    def descriptors(self, zone: str) -> dict[int, int]:
        """None but its pipes."""
        return {}

    def ended(self, child: Child, crashed: bool) -> None:
        """Nothing of it can write any more: its journal is read, and removed when all is on disk."""
        journals = read_journals(left_behind(self._journals, child.id))
        accepted = [entry for entries in journals.values() for entry in entries]
        maybeDeferred(self._work.gone, child, accepted, crashed).addCallbacks(
            lambda _: remove(list(journals)),
            lambda failure: _log.failure("journal of {child} is kept", failure, child=child.id),
        )


def read_journals(files: Sequence[Path]) -> dict[Path, list[Acceptance]]:
    """The entries of the given journals. One that can't be read is logged, missing here, and
    to be kept."""
    journals: dict[Path, list[Acceptance]] = {}
    for file in files:
        try:
            journals[file], damaged = decode(file.read_bytes())
        except OSError as error:
            _log.error("journal {file} can't be read and is kept: {error}", file=str(file), error=str(error))
            continue
        if damaged:
            _log.warn("journal {file}: {n} damaged lines passed over", file=str(file), n=damaged)
    return journals


def remove(files: Sequence[Path]) -> None:
    """Remove journals whose entries are on disk. One that stays does no harm: what it tells
    of is no longer in the queue when it is read again."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            _log.warn("journal {file} can't be removed: {error}", file=str(file), error=str(error))
