"""Where events are handed on to, and how far each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from relay.access.caller import Scope
from relay.events.sink import Standing
from relay.http.answer import Moment, iso
from relay.http.frame import Call
from relay.http.operation import operation


class SinkShown(msgspec.Struct, frozen=True, kw_only=True):
    """How a sink is doing: "up to date", "behind" so many events, or after a failure "waiting" `until` then, for the
    sake of `trouble`.

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


class SinkList(msgspec.Struct, frozen=True):
    """All of them."""

    sinks: list[SinkShown]


class SinksApi:
    """The resource of sinks."""

    def __init__(self, standings: Callable[[], Iterable[Standing]]) -> None:
        self._standings = standings

    @operation("GET", "/v1/sinks", scope=Scope.READ, tag="events", answer=SinkList)
    def sinks(self, call: Call) -> SinkList:
        """Shows where events are handed on to, and how far each is."""
        return SinkList([_described(one) for one in self._standings()])


def _described(one: Standing) -> SinkShown:
    told = one._asdict()
    told["last"], told["until"] = (iso(when) if when else None for when in (one.last, one.until))
    return SinkShown(**told)
