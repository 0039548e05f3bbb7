"""What is on hold: put there, listed and released by an operator."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from relay.config import units
from relay.config.plain import meant, shown
from relay.dispatch.holds import BadHold, Hold, TooManyHolds
from relay.http.answer import RETRY_AFTER, answer, failure, iso, refusal, shielded
from relay.http.fields import body_of, flag, text, wrong
from relay.http.slices import Slices
from relay.zone.decision import Scope

_NAMES = Scope.__struct_fields__
_FIELDS = (*_NAMES, "everything", "reason", "duration", "until")
_MOMENT = 'a moment with its offset such as "2026-12-01T08:00:00Z" or "2026-12-01T09:00+01:00"'


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

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/holds", methods=["GET"], endpoint="holds")(self.holds)
        app.route("/v1/holds", methods=["POST"], endpoint="hold")(self.hold)
        app.route("/v1/holds/<id>", methods=["DELETE"], endpoint="release")(self.release)

    async def holds(self, request: IRequest) -> bytes:
        """`{"holds": [...]}`, in the order in which they came."""
        slices = Slices(self._clock)
        shown_holds = []
        for hold in self._holds.listed():
            shown_holds.append(described(hold))
            await slices.breathe()
        return answer(request, {"holds": shown_holds})

    async def hold(self, request: IRequest) -> bytes:
        """Puts on hold what the body names. 201 once that is in force and on disk; 503: it is neither."""
        fields = body_of(request, _FIELDS)
        scope = Scope(**{name: text(fields, name) for name in _NAMES})
        everything = flag(fields, "everything")
        self._check_zone(scope.zone.lower())
        until = self._until(text(fields, "duration"), text(fields, "until"))
        try:
            hold = await shielded(self._holds.add(scope, text(fields, "reason"), until, everything))
        except BadHold as error:
            raise wrong(error.field, str(error).removeprefix(f"{error.field}: ")) from None
        except TooManyHolds as error:
            raise refusal(409, "TooManyHolds", f"Nothing was put on hold: {error}") from None
        except OSError as error:
            raise failure(503, f"Nothing was put on hold: {error.strerror or error}", RETRY_AFTER) from None
        request.setHeader(b"Location", f"/v1/holds/{hold.id}".encode("ascii"))
        return answer(request, described(hold), 201)

    async def release(self, request: IRequest, id: str) -> bytes:
        """Ends a hold: what it was, once that is on disk; 503: it goes on."""
        try:
            hold = await shielded(self._holds.release(id))
        except OSError as error:
            raise failure(503, f"The hold goes on: {error.strerror or error}", RETRY_AFTER) from None
        if hold is None:
            raise refusal(404, "ResourceNotFound", f"There is no hold {shown(id)}")
        return answer(request, described(hold))

    def _check_zone(self, zone: str) -> None:
        known = sorted(self._zones())
        if zone and zone not in known:
            hint = meant(zone[:60], known) or "; expected one of " + ", ".join(known)[:500]
            raise wrong("zone", f"there is no zone {shown(zone)}{hint}")

    def _until(self, duration: str, until: str) -> int:
        """When a hold ends (ms since the epoch); 0: when it is released."""
        if duration and until:
            raise wrong("until", "expected it or duration, got both")
        if duration:
            try:
                ms = int(units.duration(duration) * 1000)
            except units.UnitError as error:
                raise wrong("duration", f"expected {error}, got {shown(duration)}") from None
            if not ms:
                raise wrong("duration", f"expected a duration above 0, got {shown(duration)}")
            return self._now() + ms
        return self._moment(until) if until else 0

    def _moment(self, until: str) -> int:
        try:
            moment = datetime.fromisoformat(until)
            if moment.tzinfo is None:
                raise ValueError
            when = int(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            raise wrong("until", f"expected {_MOMENT}, got {shown(until)}") from None
        if when <= self._now():
            raise wrong("until", f"expected a time to come, got {shown(until)}")
        return when


def described(hold: Hold) -> dict[str, object]:
    """A hold as the API shows it: what it names, or `everything`; `until` null: when it is released."""
    named: dict[str, object] = {name: value for name in _NAMES if (value := getattr(hold.scope, name))}
    return {
        "id": hold.id,
        **(named or {"everything": True}),
        "reason": hold.reason,
        "since": iso(hold.since),
        "until": iso(hold.until) if hold.until else None,
    }
