"""Makes the events of a message's way out of what is known where each step is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict

import msgspec.structs

from relay.bounce.diagnosis import Diagnosis
from relay.message.event import Event
from relay.message.headers import HeaderBlock
from relay.message.values import Delivery, Message, Outcome
from relay.message.words import shown
from relay.zone.decision import Decision

#: So many recipients of a message are named when it is queued.
NAMED = 100
#: Of a field of its header, and of what a client calls itself, so much is told (characters).
TOLD = 200

Events = tuple[Event, ...]


class _Taken(TypedDict):
    sender: str
    size: int
    user: str
    message_id: str
    fbl: str
    tenant: str
    tags: tuple[str, ...]
    listener: str
    client: str
    client_host: str
    helo: str
    transport: str
    subject: str
    header_from: str
    body_size: int


class Steps:
    """Each method gives the events to be written with the step: one, or none where they are not kept."""

    __slots__ = ("_kept", "_now", "_protocol")

    def __init__(self, kept: bool, now: Callable[[], int], protocol: Callable[[str], str] = lambda zone: "") -> None:
        """`now` gives ms since the epoch, `protocol` by which one the mail of a zone leaves (relay.zone.zones)."""
        self._kept = kept
        self._now = now
        self._protocol = protocol

    def queued(self, message: Message, deliveries: Sequence[Delivery]) -> Events:
        """A message is taken; what came back for a sender (`origin.returned`) thereby goes on."""
        if not self._kept:
            return ()
        first = deliveries[0]
        event = Event(
            "queued",
            message.created,
            message.id,
            zone=first.zone,
            recipient=first.recipient if len(deliveries) == 1 else "",
            due=first.due if first.due > message.created else 0,
            recipients=len(deliveries),
            to=tuple(delivery.recipient for delivery in deliveries[:NAMED]),
            **_taken(message),
        )
        if not message.origin.returned:
            return (event,)
        return event, msgspec.structs.replace(event, kind="sent-on", recipients=0, to=())

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
                protocol=self._protocol(delivery.zone),
                return_path="" if outcome.return_path == message.sender else outcome.return_path,
                tenant=message.tenant,
                tags=message.tags,
            ),
        )

    def happened(
        self, kind: str, message: Message, delivery: Delivery, reason: str = "", due: int = 0, about: str = ""
    ) -> Events:
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
                about=about,
            ),
        )

    def left_out(self, message: Message, unwanted: Iterable[tuple[str, str, str]]) -> Events:
        """Recipients of a message that is taken get none of it, and never were to: each with the reason, and which
        address or domain on the list it was."""
        if not self._kept:
            return ()
        taken = _taken(message)
        return tuple(
            Event("suppressed", message.created, message.id, recipient=recipient, reason=reason, about=about, **taken)
            for recipient, reason, about in unwanted
        )

    def notified(self, message: Message, delivery: Delivery, kind: str, notice: str) -> Events:
        """The sender is told: of what kind that is, and the queue id of the mail."""
        if not self._kept:
            return ()
        [event] = self.happened("notified", message, delivery, about=notice)
        return (msgspec.structs.replace(event, what=kind),)

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
                client=address,
                user=user,
                reason=f"by {by}" if by else "from this machine, without a key",
                about=about,
                what=what,
                tenant=tenant,
            ),
        )

def _taken(message: Message) -> _Taken:
    """What an event tells of a message that was taken."""
    origin, block = message.origin, HeaderBlock(message.headers)
    return {
        "sender": message.sender,
        "size": message.size,
        "user": origin.user,
        "message_id": message.message_id,
        "fbl": message.fbl,
        "tenant": message.tenant,
        "tags": message.tags,
        "listener": origin.listener,
        "client": origin.address,
        "client_host": origin.host,
        "helo": shown(origin.helo, TOLD),
        "transport": origin.transport,
        "subject": shown(block.get("Subject") or "", TOLD),
        "header_from": shown(block.get("From") or "", TOLD),
        "body_size": message.body_size,
    }
