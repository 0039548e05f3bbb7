"""Zones, counts and lists of deliveries in the shapes that clients of ZoneMTA know."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from relay.http.answer import Moment


class ZonesQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which zones."""

    include_disabled: Annotated[str, Meta(description="true, yes or 1: also those that are switched off")] = ""


class ZoneName(msgspec.Struct, frozen=True):
    """A zone."""

    name: str


class ZoneCounter(msgspec.Struct, frozen=True):
    """So many deliveries of a zone."""

    key: str
    value: int


class ZoneCounters(msgspec.Struct, frozen=True):
    """Of each zone."""

    entries: list[ZoneCounter]
    rows: int


class DomainCount(msgspec.Struct, frozen=True):
    """How many deliveries to a domain are due, and how many are deferred."""

    domain: str
    queued: int
    deferred: int


class ZoneQueue(msgspec.Struct, frozen=True):
    """What is in the queue of a zone; `processed` have ended since the relay `started`."""

    time: Moment
    started: Moment
    processed: int
    queued: int
    deferred: int
    domains: list[DomainCount]


class CursorQuery(msgspec.Struct, frozen=True):
    """Where to go on."""

    cursor: Annotated[str, Meta(description="What the page before has given")] = ""


class ListedDelivery(msgspec.Struct, frozen=True):
    """A delivery: when its message was created, when it is due, how often it has failed. One that can't be read has an
    `error` instead."""

    id: str
    seq: str
    zone: str
    recipient: str | UnsetType = UNSET
    created: Moment | UnsetType = UNSET
    queued: Moment | UnsetType = UNSET
    deferred: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


class DeliveryList(msgspec.Struct, frozen=True):
    """Deliveries, and the `cursor` for those behind them, if there are any."""

    zone: str
    type: str
    entries: list[ListedDelivery] = field(name="list")
    cursor: str | UnsetType = UNSET
