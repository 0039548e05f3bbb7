"""Which deliveries are meant: by all that is named. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

import msgspec

from relay.message.queueid import time_of
from relay.message.values import Delivery, Message

#: Later than every time (ms since the epoch).
FAR = 1 << 52


class State(enum.StrEnum):
    """Where a delivery stands: due (whatever it waits for), due later, put aside, or in a child's hands."""

    QUEUED = "queued"
    DEFERRED = "deferred"
    HELD = "held"
    SENDING = "sending"


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is "" isn't asked for.

    `sender` and `recipient` are addresses, or with an @ in front all of a domain. `reason` is the category of the last
    failure. `id` names a message. `since` and `until` (ms since the epoch) are when it began to come in, both included.
    Names and addresses are compared in any case, but for the tenant, which says who may see them. `sender` and
    `message_id` are None where they aren't asked for, for there is mail without any.
    """

    zone: str = ""
    domain: str = ""
    site: str = ""
    sender: str | None = None
    recipient: str = ""
    tenant: str = ""
    tag: str = ""
    message_id: str | None = None
    state: State | None = None
    reason: str = ""
    id: str = ""
    since: int = 0
    until: int = FAR

    @property
    def of_message(self) -> bool:
        """Whether the message has to be known."""
        return bool(self.sender is not None or self.tenant or self.tag or self.message_id is not None)


class Found(NamedTuple):
    """A delivery in the queue, and where it stands. `site` is "" while it isn't known, `message` None where it was not
    looked at."""

    row: Delivery
    state: State
    site: str
    message: Message | None


def fits_row(wanted: Filter, row: Delivery, state: State, site: str) -> bool:
    """As far as its row tells."""
    if wanted.state is not None and state is not wanted.state:
        return False
    if wanted.zone and row.zone != wanted.zone.lower():
        return False
    if wanted.domain and row.domain.lower() != wanted.domain.lower():
        return False
    if wanted.site and site.lower() != wanted.site.lower():
        return False
    if wanted.reason and row.category != wanted.reason:
        return False
    if wanted.id and row.id != wanted.id:
        return False
    if wanted.recipient and not _is(wanted.recipient, row.recipient):
        return False
    return not (wanted.since or wanted.until < FAR) or wanted.since <= time_of(row.id) <= wanted.until


def fits_message(wanted: Filter, message: Message) -> bool:
    """As far as its message tells."""
    if wanted.sender is not None and not _is(wanted.sender, message.sender):
        return False
    if wanted.tenant and message.tenant != wanted.tenant:
        return False
    if wanted.tag and wanted.tag.casefold() not in map(str.casefold, message.tags):
        return False
    return wanted.message_id is None or message.message_id.casefold() == wanted.message_id.casefold()


def is_domain(address: str) -> bool:
    """Whether it stands for all addresses of a domain."""
    return address.startswith("@")


def _is(wanted: str, address: str) -> bool:
    if is_domain(wanted):
        return address.rpartition("@")[2].casefold() == wanted[1:].casefold() and "@" in address
    return address.casefold() == wanted.casefold()
