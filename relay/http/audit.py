"""Who has changed what by the API: written down as an event, where the change isn't one itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.events.steps import Steps
from relay.http.access import address_of
from relay.http.answer import shielded
from relay.message.event import Event
from relay.queue.store import StoreError

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

_log = Logger()

#: Of what was changed (characters).
_LONGEST = 500


class Audit:
    """Writes it down."""

    def __init__(self, steps: Steps, tell: Callable[[Sequence[Event]], Deferred[None]]) -> None:
        self._steps = steps
        self._tell = tell

    async def note(self, request: ApiRequest, what: str, about: str) -> None:
        """A caller has done `what`, such as "key.created", to `about`. It is on disk when this returns; should that
        fail, only the log tells of it, for the change is made."""
        caller, address = request.caller, address_of(request.client)
        about = "".join(char if char.isprintable() else "?" for char in about[:_LONGEST])
        _log.info(
            "{what} {about} by {user} from {client}",
            what=what, about=about, user=caller.name, by=caller.by, client=address,
        )  # fmt: skip
        events = self._steps.audited(what, about, caller.name, caller.tenant, caller.by, address)
        if not events:
            return
        try:
            await shielded(self._tell(events))
        except StoreError as error:
            _log.warn("{what} {about} is in no event: {error}", what=what, about=about, error=str(error))
