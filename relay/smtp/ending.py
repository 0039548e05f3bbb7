"""How a transaction of the client's ended, as a value."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from relay.message.values import Result


class Ending(msgspec.Struct, frozen=True):
    """How a transaction, or the way to the first one, ended.

    `stage` is that of `Outcome`, and so are `code`, `category` and `doubtful`. `reusable`:
    another transaction may follow on this connection. `stale`: a kept connection turned out
    to be of no use and nothing was said about the message, so that it can be tried at once
    on a new one. `apart` are the recipients that fared otherwise, by their places. `postponed`, of one of
    those: its host takes no more in one transaction, and has refused it in no other sense.
    """

    result: Result
    stage: str
    text: str
    code: int = 0
    category: str = ""
    doubtful: bool = False
    reusable: bool = False
    stale: bool = False
    apart: Mapping[int, Ending] = {}
    postponed: bool = False

    def of(self, place: int) -> Ending:
        """How it ended for one of the recipients."""
        return self.apart.get(place, self)

    def without_reuse(self) -> Ending:
        """The same ending on a connection that must not be used again."""
        return msgspec.structs.replace(self, reusable=False)


def unfit(text: str) -> Ending:
    """A message that this host can't be offered; nothing was sent, so the connection is as it was."""
    return Ending(Result.BOUNCED, "mail", text, category="message", reusable=True)
