"""What is in the queue, why it is there, and what is done to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from relay_client.ask import Ask, Listing, do, get, paged
from relay_client.delivery import Delivery, Header, Stored, Whole, Why
from relay_client.edge import E, Group, asks, lists, takes

State = Literal["queued", "deferred", "held", "sending"]
Verb = Literal["send-now", "hold", "release", "bounce", "delete", "move"]
#: Seconds that an answer about a job waits for its end.
_SOON = 1.0


class Wanted(Struct, frozen=True, kw_only=True):
    """Which deliveries: those that all that is named fits.

    `sender` and `recipient` are addresses, or "@example.com" for all of a domain; `reason` is the category of the last
    failure; `older` and `younger` are durations such as "4h".

        >>> Wanted(domain="example.org", state="deferred", older="4h")
    """

    zone: str | None = None
    domain: str | None = None
    site: str | None = None
    sender: str | None = None
    recipient: str | None = None
    tenant: str | None = None
    tag: str | None = None
    message_id: str | None = None
    state: State | None = None
    reason: str | None = None
    id: str | None = None
    older: str | None = None
    younger: str | None = None

    def fields(self) -> dict[str, Any]:
        """Those that are named."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Taken(Struct, frozen=True, kw_only=True):
    """What was done: `result` is "done", or "unchanged" where there was nothing to do."""

    name: str
    result: str


class Job(Struct, frozen=True, kw_only=True):
    """What is done to many. `total` is how many deliveries it would change, so far while it is `counting`; the others
    are what came of those that it has come to."""

    id: str
    action: str
    reason: str
    zone: str
    dry_run: bool
    stage: str
    total: int
    done: int
    unchanged: int
    in_hand: int
    gone: int
    unreadable: int
    started: datetime
    ended: datetime | None
    error: str | None

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        if self.ended is not None:
            return 1.0
        seen = self.done + self.unchanged + self.in_hand + self.gone + self.unreadable
        return 0.0 if self.stage == "counting" or not self.total else min(1.0, seen / self.total)


class _DeliveryPage(Struct, frozen=True):
    items: tuple[Delivery, ...]
    next: str | None


class _JobList(Struct, frozen=True):
    jobs: tuple[Job, ...]


class _WhyList(Struct, frozen=True):
    deliveries: tuple[Why, ...]


class Queue(Group[E]):
    """The queue."""

    @lists
    def search(self, wanted: Wanted | None = None, *, page: int = 100) -> Listing[Delivery]:
        """All there are, or those that fit, `page` of them with each answer.

            >>> for delivery in relay.queue.search(Wanted(domain="example.org", state="deferred")):
            ...     print(delivery.name, delivery.recipient, delivery.last_reply)
        """
        query = {**(wanted.fields() if wanted is not None else {}), "limit": page}
        return paged(get("/v1/queue", _DeliveryPage, query=query), lambda told: told.items)

    @asks
    def message(self, id: str) -> Ask[Stored]:
        """A message, and where its deliveries stand."""
        return get("/v1/messages/{queue_id}", Stored, id)

    @asks
    def header(self, id: str) -> Ask[Header]:
        """Its header, field by field."""
        return get("/v1/messages/{queue_id}/headers", Header, id)

    @takes
    def body(self, id: str, *, first: int = 0, last: int | None = None) -> Ask[bytes]:
        """Its body, or the bytes from `first` to `last`, both included, in pieces.

            >>> beginning = b"".join(relay.queue.body(sent.id, last=999))
        """
        ask = get("/v1/messages/{queue_id}/body", bytes, id)
        return replace(ask, headers={"Range": f"bytes={first}-{'' if last is None else last}"})

    @asks
    def delivery(self, name: str) -> Ask[Whole]:
        """All that is known of a delivery, `id.seq`, also of one that has ended."""
        return get("/v1/deliveries/{name}", Whole, _delivery(name))

    @asks
    def why(self, name: str) -> Ask[Why]:
        """Why a delivery, `id.seq`, is where it is.

            >>> print(relay.queue.why(part.id).waits_for.limit)
        """
        return get("/v1/deliveries/{name}/why", Why, _delivery(name))

    @lists
    def whys(self, id: str) -> Listing[Why]:
        """The same of the first 100 deliveries of a message."""
        if "." in id:
            raise ValueError(f"expected the id of a message, got {id!r}")
        ask = get("/v1/deliveries/{name}/why", _WhyList, id)
        return Listing(ask, lambda told: told.deliveries, lambda ask, told: None)

    @asks
    def act(self, name: str, verb: Verb, *, reason: str | None = None, zone: str | None = None) -> Ask[Taken]:
        """Does something to one delivery. `reason` goes with hold and bounce, `zone` with move.

            >>> relay.queue.act(delivery.name, "move", zone="bulk")
        """
        body = {"action": verb, "reason": reason, "zone": zone}
        return do("POST", "/v1/deliveries/{name}/actions", Taken, _delivery(name), body=body)

    @asks
    def act_on(
        self,
        which: Wanted | Sequence[str],
        verb: Verb,
        *,
        everything: bool = False,
        reason: str | None = None,
        zone: str | None = None,
        dry_run: bool = False,
        wait: float = _SOON,
    ) -> Ask[Job]:
        """Does something to all that fit, or to those of these names; with `dry_run` they are only counted. Nothing
        named means all there are, which `everything` has to confirm. The answer waits so many seconds, 30 at most, for
        the end; a job that goes on is asked for by its id.

            >>> gone = Wanted(recipient="@example.org")
            >>> print(relay.queue.act_on(gone, "delete", dry_run=True, wait=30).total)
            >>> job = relay.queue.act_on(gone, "delete")
            >>> while job.ended is None:
            ...     time.sleep(1)
            ...     job = relay.queue.job(job.id)
            ...     print(f"{job.progress:.0%}")
        """
        body: dict[str, Any] = {"action": verb, "reason": reason, "zone": zone, "dry_run": dry_run, "wait": wait}
        if isinstance(which, Wanted):
            body["filter"] = {**which.fields(), **({"everything": True} if everything else {})}
        else:
            body["names"] = list(which)
        return do("POST", "/v1/queue/actions", Job, body=body, patience=wait)

    @lists
    def jobs(self) -> Listing[Job]:
        """Those that run, and the last hundred that have ended."""
        return Listing(get("/v1/jobs", _JobList), lambda told: told.jobs, lambda ask, told: None)

    @asks
    def job(self, id: str) -> Ask[Job]:
        """How far one is."""
        return get("/v1/jobs/{id}", Job, id)

    @asks
    def cancel(self, id: str) -> Ask[Job]:
        """Does no more of it; what it has done stays done."""
        return do("DELETE", "/v1/jobs/{id}", Job, id)


def _delivery(name: str) -> str:
    """Raises ValueError: it is none."""
    if "." not in name:
        raise ValueError(f"expected the name of a delivery, id.seq, got {name!r}")
    return name
