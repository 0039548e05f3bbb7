"""What comes back is read, and whoever the policy names is put on the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config.schema import Suppression
from relay.message.event import Numbered
from relay.suppression.policy import entry_of
from relay.suppression.suppressions import Added, Suppressions

_log = Logger()


class Taking:
    """Takes events as a reader of them gives them: in order, and perhaps some twice."""

    def __init__(self, suppressions: Suppressions, policy: Suppression) -> None:
        self._list = suppressions
        self._policy = policy

    def take(self, events: Sequence[Numbered]) -> Deferred[None]:
        """Fires once what follows from all of them is on disk. Fails with StoreError: give them again. An entry that
        stops as much already stays as it is."""
        policy = self._policy
        within = round(policy.within * 1000)
        done: list[Deferred[Any]] = []
        for number, event in events:
            entry = entry_of(event, policy)
            if entry is None or self._list.is_over(entry):
                continue
            added: Deferred[Any] = (
                self._list.bounced(entry, number, policy.after, within)
                if entry.source == "bounce"
                else self._list.add(entry, weakly=True)
            )
            done.append(added.addCallback(_tell))
        return gatherResults(done, consumeErrors=True).addCallbacks(lambda _: None, _first)


def _tell(added: Added | None) -> None:
    if added is not None and added.changed:
        entry = added.entry
        _log.info(
            "{whom} gets no more mail{of}: {source}: {reason}",
            whom=entry.whom,
            of=f" of {entry.tenant}" if entry.tenant else "",
            source=entry.source,
            reason=entry.reason,
            id=entry.id,
        )


def _first(failure: Failure) -> Failure:
    """The first failure of several, as it was."""
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure
