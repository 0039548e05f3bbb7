"""Recipients who get no mail, where mail is submitted: taken, refused, or taken and not queued, as the policy says.

Whatever way a message comes, it is looked at once more at its end, where its recipients are all known. A listener tells
of each one at RCPT already, where one can be refused without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from twisted.logger import Logger

from relay.listener.door import Refused
from relay.message.envelope import Recipient
from relay.queue.store import StoreError
from relay.smtp.reply import Reply, reply
from relay.suppression.draft import Damaged
from relay.suppression.entry import Entry, Stop

_log = Logger()
_T = TypeVar("_T")

#: How much of a reply is for names (characters).
_NAMES = 400
BUSY = reply(451, "4.3.0 Error: the suppression list can't be read now, try again later")


class List(Protocol):
    """Who gets no mail (relay.suppression)."""

    def find(self, owner: str, recipient: str) -> Stop | None:
        """What stops the mail of a tenant, or of a user without one, to a recipient. Raises StoreError,
        or Damaged."""

    def told(self, stop: Stop) -> Entry:
        """The whole entry. Raises StoreError, or Damaged."""

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Have it told whether there is anybody on the list, now and whenever that changes."""

    def unwatch(self, watcher: Callable[[bool], None]) -> None:
        """Tell it no more."""


class Unwanted(NamedTuple):
    """A recipient who gets no mail, and for which entry of the list."""

    recipient: str
    entry: Entry


class Heed:
    """Of all ways in."""

    def __init__(self, policy: Literal["accept", "refuse", "drop"], listed: List) -> None:
        self._policy = policy
        self._list = listed

    def admit(self, owner: str, recipient: str) -> None:
        """At RCPT. Raises Refused: the recipient gets no mail, at least of this tenant, or of this user without one
        ("": nobody)."""
        if self._policy == "refuse" and self._find(owner, recipient) is not None:
            raise Refused(_refusal((recipient,)))

    def sort_out(
        self, owner: str, recipients: tuple[Recipient, ...]
    ) -> tuple[tuple[Recipient, ...], tuple[Unwanted, ...]]:
        """At the end of a message: the recipients that are queued, and those that are dropped. Raises Refused, and
        names those who get no mail."""
        if self._policy == "accept":
            return recipients, ()
        kept, stopped = [], []
        for recipient in recipients:
            stop = self._find(owner, recipient.address)
            if stop is None:
                kept.append(recipient)
            else:
                stopped.append((recipient.address, stop))
        if not stopped:
            return recipients, ()
        if self._policy == "refuse":
            raise Refused(_refusal([address for address, _ in stopped]))
        return tuple(kept), tuple(Unwanted(address, _read(self._list.told, stop)) for address, stop in stopped)

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Have it told whether anybody would be refused at RCPT, now and whenever that changes."""
        if self._policy == "refuse":
            self._list.watch(watcher)

    def unwatch(self, watcher: Callable[[bool], None]) -> None:
        """Tell it no more."""
        if self._policy == "refuse":
            self._list.unwatch(watcher)

    def _find(self, owner: str, recipient: str) -> Stop | None:
        return _read(self._list.find, owner, recipient)


def _read(read: Callable[..., _T], *about: object) -> _T:
    """What the list says. Raises Refused where it can't be read."""
    try:
        return read(*about)
    except (StoreError, Damaged) as error:
        _log.warn("who gets no mail can't be looked up: {error}", error=str(error))
        raise Refused(BUSY) from None


def _refusal(recipients: Sequence[str]) -> Reply:
    """One line, with as many names as it has room for."""
    names = ""
    for number, recipient in enumerate(recipients):
        if number and len(names) + len(recipient) > _NAMES:
            names += f" and {len(recipients) - number} more"
            break
        names += f"{', ' if number else ''}<{recipient}>"
    return reply(550, f"5.1.1 Error: on the suppression list: {names}")
