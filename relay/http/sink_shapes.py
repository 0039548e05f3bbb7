"""What the resources of sinks read and show."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.events.batches import Batch
from relay.events.replay import Phase, Replaying
from relay.events.sink import Aside, Standing
from relay.http.answer import Moment, iso

_LAST = 1 << 62
Number = Annotated[int, Meta(ge=0, le=_LAST, description="The number of an event")]


class ReplayShown(msgspec.Struct, frozen=True):
    """Events that are handed on again, or were since the start: those behind the number `after`, up to `until`. All up
    to `at` are taken, or no longer wanted; `missed` of them were forgotten by then. After a failure it waits, until
    `next`, for the sake of `trouble`."""

    after: int
    until: int
    begun: Moment
    at: int
    state: Phase
    missed: int
    trouble: str
    next: Moment | None


class SinkShown(msgspec.Struct, frozen=True, kw_only=True):
    """How a sink is doing: "up to date", "behind" so many events, or after a failure "waiting" `until` then, for the
    sake of `trouble`. `cursor` is the number of the last event that is over.

    `taken`, `missed` and `failures` are counted since the start. `aside` are those that were refused by themselves and
    will be tried again.
    """

    name: str
    kind: str
    where: str
    state: str
    behind: int
    taken: int
    missed: int
    aside: int
    failures: int
    trouble: str
    last: Moment | None
    until: Moment | None
    cursor: int
    replay: ReplayShown | None


class SinkList(msgspec.Struct, frozen=True):
    """All of them."""

    sinks: list[SinkShown]


class BatchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the list."""

    limit: Annotated[int, Meta(ge=1, le=500, description="How many at most")] = 100
    cursor: Annotated[int, Meta(ge=1, le=_LAST, description="`next` of the part before")] | UnsetType = UNSET


class BatchShown(msgspec.Struct, frozen=True):
    """Events that were handed on together: the `count` that the sink wants of those from `first` to `last`. It was
    tried `tries` times, first at `begun`, last at `time`, which took `seconds`. `status` is that of an answer by HTTP.
    `trouble` is why it was not taken then, `said` how the answer began, `next` when it is tried again. `replay`: they
    were handed on again."""

    begun: Moment
    time: Moment
    first: int
    last: int
    count: int
    tries: int
    seconds: float
    taken: bool
    status: int | None
    trouble: str
    said: str
    next: Moment | None
    replay: bool


class BatchList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[BatchShown]
    next: int | None


class AsideQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the list."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most")] = 100
    cursor: Number = 0


class AsideShown(msgspec.Struct, frozen=True):
    """An event that was refused by itself, `tries` times `since` then, and is tried again at `next`."""

    number: int
    tries: int
    since: Moment
    next: Moment


class AsideList(msgspec.Struct, frozen=True):
    """A part of them."""

    items: list[AsideShown]
    next: int | None


class NewReplay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events: behind a number or from a moment on, up to a number or a moment; without an end, all that the sink
    has had."""

    after: Number | UnsetType = UNSET
    since: Annotated[str, Meta(description="A moment", examples=["2026-12-01T08:00:00Z"])] = ""
    until: Annotated[
        Number | str, Meta(description="A number or a moment", examples=["2026-12-01T09:00:00Z"])
    ] | UnsetType = UNSET


def sink_shown(one: Standing) -> SinkShown:
    told = one._asdict()
    told["last"], told["until"] = _moment(one.last), _moment(one.until)
    told["replay"] = None if one.replay is None else replay_shown(one.replay)
    return SinkShown(**told)


def replay_shown(one: Replaying) -> ReplayShown:
    return ReplayShown(
        one.after, one.until, iso(one.begun), one.at, one.phase, one.missed, one.trouble, _moment(one.next)
    )


def batch_shown(batch: Batch, then: int) -> BatchShown:
    return BatchShown(
        iso(batch.begun),
        iso(batch.time),
        batch.first,
        batch.last,
        batch.count,
        batch.tries,
        batch.seconds,
        not batch.trouble,
        batch.status or None,
        batch.trouble,
        batch.said,
        _moment(then),
        batch.replay,
    )


def aside_shown(one: Aside) -> AsideShown:
    return AsideShown(one.number, one.tries, iso(one.since), iso(one.due))


def _moment(when: int) -> str | None:
    return iso(when) if when else None
