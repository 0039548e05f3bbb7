"""Makes the events of a message's way out of what is known where each step is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec.structs

from relay.bounce.diagnosis import Diagnosis
from relay.message.event import Event
from relay.message.values import Delivery, Message, Outcome
from relay.zone.decision import Decision

#: So many recipients of a message are named when it is queued.
NAMED = 100

Events = tuple[Event, ...]


class Steps:
    """Each method gives the events to be written with the step: one, or none where they are not kept."""

    __slots__ = ("_kept", "_now")

    def __init__(self, kept: bool, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._kept = kept
        self._now = now

    def queued(self, message: Message, deliveries: Sequence[Delivery]) -> Events:
        """A message is taken."""
        if not self._kept:
            return ()
        first = deliveries[0]
        one = len(deliveries) == 1
        return (
            Event(
                "queued",
                message.created,
                message.id,
                zone=first.zone,
                sender=message.sender,
                recipient=first.recipient if one else "",
                due=first.due if first.due > message.created else 0,
                size=message.size,
                user=message.origin.user,
                message_id=message.message_id,
                fbl=message.fbl,
                tenant=message.tenant,
                tags=message.tags,
                recipients=len(deliveries),
                to=tuple(delivery.recipient for delivery in deliveries[:NAMED]),
            ),
        )

    def attempted(
        self,
        kind: str,
        message: Message,
        delivery: Delivery,
        outcome: Outcome,
        diagnosis: Diagnosis | None,
        due: int = 0,
        site: str = "",
        unreported: str = "",
    ) -> Events:
        """An attempt at this site has ended as `kind` says, and is tried again at `due` (ms) if that isn't 0;
        `unreported` is why nobody is to be told of it."""
        if not self._kept:
            return ()
        category, action, fault, status, meaning = outcome.category, "", "", "", ""
        if diagnosis is not None:
            category, action, fault, status = diagnosis.category, diagnosis.action, diagnosis.fault, diagnosis.status
            meaning = diagnosis.message
        return (
            Event(
                kind,
                self._now(),
                delivery.id,
                delivery.seq,
                delivery.zone,
                message.sender,
                delivery.recipient,
                outcome.host,
                outcome.host_address,
                outcome.local_address,
                outcome.code,
                status,
                outcome.response,
                outcome.stage,
                category,
                action,
                fault,
                outcome.tls,
                delivery.attempts + 1,
                outcome.seconds,
                due,
                message.size,
                message.origin.user,
                message.message_id,
                message.fbl,
                meaning,
                site=site,
                unreported=unreported,
                tenant=message.tenant,
                tags=message.tags,
            ),
        )

    def happened(self, kind: str, message: Message, delivery: Delivery, reason: str = "", due: int = 0) -> Events:
        """Something else has become of a delivery."""
        if not self._kept:
            return ()
        return (
            Event(
                kind,
                self._now(),
                delivery.id,
                delivery.seq,
                delivery.zone,
                message.sender,
                delivery.recipient,
                category=delivery.category,
                attempts=delivery.attempts,
                due=due,
                size=message.size,
                user=message.origin.user,
                message_id=message.message_id,
                fbl=message.fbl,
                tenant=message.tenant,
                tags=message.tags,
                reason=reason,
            ),
        )

    def left_out(self, message: Message, recipient: str, reason: str) -> Events:
        """A recipient of a message that is taken gets none of it, and never was to."""
        if not self._kept:
            return ()
        return (
            Event(
                "suppressed",
                message.created,
                message.id,
                sender=message.sender,
                recipient=recipient,
                size=message.size,
                user=message.origin.user,
                message_id=message.message_id,
                fbl=message.fbl,
                tenant=message.tenant,
                tags=message.tags,
                reason=reason,
            ),
        )

    def notified(self, message: Message, delivery: Delivery, kind: str, notice: str) -> Events:
        """The sender is told: of what kind that is, and the queue id of the mail."""
        if not self._kept:
            return ()
        [event] = self.happened("notified", message, delivery)
        return (msgspec.structs.replace(event, what=kind, about=notice),)

    def decided(self, decision: Decision) -> Events:
        """Something is decided about a way; `due` is its end."""
        if not self._kept:
            return ()
        scope = decision.scope
        return (
            Event(
                "decision",
                decision.made,
                zone=scope.zone,
                local_address=scope.address,
                due=decision.until,
                user=scope.user,
                reason=decision.reason,
                site=scope.site,
                about=str(scope),
                what=decision.kind,
            ),
        )

    def audited(self, what: str, about: str, user: str, tenant: str, by: str, address: str) -> Events:
        """Somebody has done `what` to `about` by the API, from there; `by` tells how it is known who, "" where it is a
        program of this machine."""
        if not self._kept:
            return ()
        return (
            Event(
                "audit",
                self._now(),
                host_address=address,
                user=user,
                reason=f"by {by}" if by else "from this machine, without a key",
                about=about,
                what=what,
                tenant=tenant,
            ),
        )
