"""`GET /v1/warmup`: where each address in a warm-up plan stands today, and what its sites got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from relay.http.answer import answer, iso, refusal
from relay.zone.standing import Standing

_KNOWN = ("address", "site")
_LONGEST = 300


class Warmth(Protocol):
    """What is in warm-up."""

    def listed(self, address: str, site: str) -> Sequence[Standing]:
        """All addresses in a plan, or the one named; with those 1,000 sites, over all of them, that got most,
        or with the one named."""

    def next_change(self) -> int:
        """When all amounts change (ms since the epoch)."""


class WarmupApi:
    """The resource that shows warm-up."""

    def __init__(self, warmth: Warmth, now: Callable[[], int]) -> None:
        self._warmth = warmth
        self._now = now

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/warmup", methods=["GET"])(self.warmup)

    def warmup(self, request: IRequest) -> bytes:
        """All of it, or `?address=` and `?site=`. `counted` tells how many sites there are beside those shown."""
        for key in request.args:
            if key.decode("utf-8", "replace") not in _KNOWN:
                shown = ascii(key.decode("utf-8", "replace")[:40])
                raise refusal(400, "InvalidArgument", f"{shown} is no parameter here; known: {', '.join(_KNOWN)}")
        address, site = (self._argument(request, key) for key in _KNOWN)
        rows = self._warmth.listed(address, site)
        if address and not rows:
            raise refusal(404, "ResourceNotFound", f"address: no plan is given to {address!a}")
        until = iso(self._warmth.next_change())
        return answer(
            request,
            {"time": iso(self._now()), "until": until, "addresses": [_described(row) for row in rows]},
        )

    def _argument(self, request: IRequest, key: str) -> str:
        try:
            text: str = request.args.get(key.encode(), [b""])[-1].decode()
        except UnicodeDecodeError:
            raise refusal(400, "InvalidArgument", f"{key} isn't UTF-8") from None
        if len(text) > _LONGEST:
            raise refusal(400, "InvalidArgument", f"{key}: expected at most {_LONGEST} characters")
        return text


def _described(row: Standing) -> dict[str, object]:
    return {
        "address": row.address,
        "plan": row.plan,
        "since": row.since,
        "day": row.day,
        "days": row.days,
        "amount": row.amount,
        "warm": row.amount is None,
        "closed": row.closed,
        "counted": row.counted,
        "sites": [{"site": one.site, "sent": one.sent, "left": one.left} for one in row.sites],
    }
