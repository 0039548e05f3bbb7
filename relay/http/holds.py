"""What is on hold: put there, listed and released by an operator."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Scope as Access
from relay.config.plain import meant, shown
from relay.dispatch.holds import BadHold, Hold, TooManyHolds
from relay.http.answer import RETRY_AFTER, Moment, failure, iso, refusal, shielded
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.moments import ending
from relay.http.operation import operation
from relay.http.slices import Slices
from relay.zone.decision import Scope

_NAMES = Scope.__struct_fields__


class NewHold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to put on hold: deliveries that all that is named fits, or `everything`. It ends after a `duration`, or at
    `until`, or when it is released."""

    zone: str = ""
    domain: str = ""
    site: str = ""
    address: Annotated[str, Meta(description="A local address")] = ""
    user: str = ""
    everything: bool = False
    reason: Annotated[str, Meta(description="Why, for people: 1 to 500 characters")] = ""
    duration: Annotated[str, Meta(description="How long, such as 4h", examples=["4h"])] = ""
    until: Annotated[str, Meta(description="ISO 8601, with an offset", examples=["2026-12-01T08:00:00Z"])] = ""


class HoldShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hold: what it names, or `everything`. `until` null: when it is released."""

    id: str
    zone: str = ""
    domain: str = ""
    site: str = ""
    address: str = ""
    user: str = ""
    everything: bool = False
    reason: str
    since: Moment
    until: Moment | None


class HoldList(msgspec.Struct, frozen=True):
    """All of them."""

    holds: list[HoldShown]


class HoldKeeper(Protocol):
    """What the API needs of the holds."""

    def add(self, scope: Scope, reason: str, until: int = 0, everything: bool = False) -> Deferred[Hold]:
        """Fires once it is in force and on disk; raises BadHold, TooManyHolds; fails with OSError."""

    def release(self, id: str) -> Deferred[Hold | None]:
        """Fires with what has ended, once that is on disk; fails with OSError."""

    def listed(self) -> list[Hold]:
        """What is in force."""


class HoldsApi:
    """The resources of holds."""

    def __init__(
        self, holds: HoldKeeper, zones: Callable[[], Collection[str]], clock: IReactorTime, now: Callable[[], int]
    ) -> None:
        """`zones` gives the names of all zones, in lower case; `now` ms since the epoch."""
        self._holds = holds
        self._zones = zones
        self._clock = clock
        self._now = now

    @operation("GET", "/v1/holds", scope=Access.READ, tag="holds", answer=HoldList)
    async def holds(self, call: Call) -> HoldList:
        """What is on hold, in the order in which it came."""
        slices = Slices(self._clock)
        shown_holds = []
        for hold in self._holds.listed():
            shown_holds.append(described(hold))
            await slices.breathe()
        return HoldList(shown_holds)

    @operation(
        "POST",
        "/v1/holds",
        scope=Access.OPERATE,
        tag="holds",
        body=NewHold,
        answer=HoldShown,
        status=201,
        errors=(409,),
        audit="hold.created",
    )
    async def hold(self, call: Call) -> HoldShown:
        """Puts on hold what the body names.

        It is in force and on disk then; 503: it is neither.
        """
        asked: NewHold = call.body
        scope = Scope(**{name: getattr(asked, name) for name in _NAMES})
        self._check_zone(scope.zone.lower())
        until = ending(asked.duration, asked.until, "until", self._now())
        try:
            hold = await shielded(self._holds.add(scope, asked.reason, until, asked.everything))
        except BadHold as error:
            raise wrong(error.field, str(error).removeprefix(f"{error.field}: ")) from None
        except TooManyHolds as error:
            raise refusal(409, "TooManyHolds", f"Nothing was put on hold: {error}") from None
        except OSError as error:
            raise failure(503, f"Nothing was put on hold: {error.strerror or error}", RETRY_AFTER) from None
        call.about = hold.id
        call.request.setHeader(b"Location", f"/v1/holds/{hold.id}".encode("ascii"))
        return described(hold)

    @operation(
        "DELETE", "/v1/holds/{id}", scope=Access.OPERATE, tag="holds", answer=HoldShown, audit="hold.released"
    )
    async def release(self, call: Call, id: str) -> HoldShown:
        """Ends a hold; the answer is what it was.

        That is on disk then; 503: it goes on.
        """
        try:
            hold = await shielded(self._holds.release(id))
        except OSError as error:
            raise failure(503, f"The hold goes on: {error.strerror or error}", RETRY_AFTER) from None
        if hold is None:
            raise refusal(404, "ResourceNotFound", f"There is no hold {shown(id)}")
        return described(hold)

    def _check_zone(self, zone: str) -> None:
        known = sorted(self._zones())
        if zone and zone not in known:
            hint = meant(zone[:60], known) or "; expected one of " + ", ".join(known)[:500]
            raise wrong("zone", f"there is no zone {shown(zone)}{hint}")


def described(hold: Hold) -> HoldShown:
    """A hold as the API shows it."""
    named = {name: value for name in _NAMES if (value := getattr(hold.scope, name))}
    until = iso(hold.until) if hold.until else None
    return HoldShown(id=hold.id, reason=hold.reason, since=iso(hold.since), until=until, everything=not named, **named)
