"""What is on hold: no attempt is made of it until it is released."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from relay_client.ask import Ask, Listing, do, get
from relay_client.edge import E, Group, asks, lists


class Hold(Struct, frozen=True, kw_only=True):
    """What is held: what all that is named fits, or `everything`. `until` None: when it is released."""

    id: str
    reason: str
    since: datetime
    until: datetime | None = None
    everything: bool = False
    zone: str = ""
    domain: str = ""
    site: str = ""
    address: str = ""
    user: str = ""


class _HoldList(Struct, frozen=True):
    holds: tuple[Hold, ...]


class Holds(Group[E]):
    """Holds of a zone, a recipient's domain, a site, a local address or a user. Single deliveries are held by
    `queue.act`."""

    @lists
    def all(self) -> Listing[Hold]:
        """In the order in which they came."""
        return Listing(get("/v1/holds", _HoldList), lambda told: told.holds, lambda ask, told: None)

    @asks
    def add(
        self,
        reason: str,
        *,
        zone: str | None = None,
        domain: str | None = None,
        site: str | None = None,
        address: str | None = None,
        user: str | None = None,
        everything: bool = False,
        duration: str | None = None,
        until: datetime | None = None,
    ) -> Ask[Hold]:
        """It is in force and on disk then. `duration` is as in the relay's configuration.

            >>> hold = relay.holds.add("they asked us to wait", domain="example.org", duration="4h")
            >>> relay.holds.release(hold.id)
        """
        named = {"zone": zone, "domain": domain, "site": site, "address": address, "user": user}
        body = {**named, "everything": everything or None, "reason": reason, "duration": duration, "until": until}
        return do("POST", "/v1/holds", Hold, body=body)

    @asks
    def release(self, id: str) -> Ask[Hold]:
        """Ends it; the answer is what it was."""
        return do("DELETE", "/v1/holds/{id}", Hold, id)
