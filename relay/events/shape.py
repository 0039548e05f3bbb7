"""How an event looks wherever it is told: the same fields in the API, webhooks, files and streams (docs/events.md)."""

from __future__ import annotations

from relay.message.event import Event, Numbered

_FIELDS = tuple(name for name in Event.__struct_fields__ if name not in ("kind", "time", "to", "tags"))
_NOTHING = ("", 0, 0.0)


def shape(numbered: Numbered) -> dict[str, object]:
    """Its fields in their order; those that are empty are left out, but for `number`, `kind` and `time`."""
    number, event = numbered
    fields: dict[str, object] = {"number": number, "kind": event.kind, "time": event.time}
    for name in _FIELDS:
        value = getattr(event, name)
        if value not in _NOTHING:
            fields[name] = value
    for name in ("to", "tags"):
        if getattr(event, name):
            fields[name] = list(getattr(event, name))
    return fields
