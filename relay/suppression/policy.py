"""What of all that comes back puts somebody on the list: the policy of [suppression]. Pure."""

from __future__ import annotations

from relay.config.schema import Suppression
from relay.message.event import Event
from relay.message.flow import known_as
from relay.suppression.entry import Entry, Source, fit_reason
from relay.suppression.whom import mailbox

#: Which events may, by what an entry says that it came from.
SOURCES: dict[str, Source] = {
    "bounced": "bounce",
    "bounce-returned": "bounce",
    "complaint": "complaint",
    "unsubscribed": "unsubscribe",
}


def entry_of(event: Event, policy: Suppression) -> Entry | None:
    """The entry that follows from an event, or for a hard bounce would from enough of them; None: none does."""
    source = SOURCES.get(event.kind)
    if source is None or not _counts(source, event, policy) or "@" not in event.recipient:
        return None
    scope, lasts = policy.complaint_scope, policy.complaint_for
    if source == "bounce":
        scope, lasts = policy.bounce_scope, policy.bounce_for
    return Entry(
        mailbox(event.recipient),
        known_as(event.tenant or event.user) if scope == "tenant" else "",
        fit_reason(_reason(source, event)),
        source,
        event.time,
        event.time + round(lasts * 1000) if lasts else 0,
    )


def _counts(source: Source, event: Event, policy: Suppression) -> bool:
    """Whether the policy heeds it; of bounces those that say that nobody is there, or never wants mail."""
    if source == "complaint":
        return policy.complaints
    if source == "unsubscribe":
        return policy.unsubscribes
    hard = event.category == "recipient" and event.fault == "recipient" and event.action == "reject"
    return hard and policy.bounces == "recipient"


def _reason(source: Source, event: Event) -> str:
    """Why, for people: what the host said, and of which delivery."""
    said = event.reply or event.reason
    return f"{event.name} {said}".strip() if event.id else said or source
