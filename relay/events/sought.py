"""Mail that is sought in what has happened: by Message-ID, sender, recipient, by when it was queued, or by several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from relay.events.reader import Source
from relay.events.span import before
from relay.message.event import Event, Numbered

#: Kinds of trace, the first to be asked first: those by recipient alone name deliveries. Fields of the event that
#: queued it tell of the others.
_KINDS = {"recipient": "", "message-id": "message_id", "sender": "sender"}
_PAGE = 500


class Traced(Source, Protocol):
    """What of the store is asked."""

    def trace(self, kind: str, value: str, since: int, until: int, limit: int) -> Iterator[str]: ...


def candidates(store: Traced, wanted: Mapping[str, str], since: int, until: int, most: int) -> Iterator[str | None]:
    """Names (`id` or `id.seq`) of mail that may be it, the latest day first, and None for what else was looked at on
    the way; of names at most so many. `wanted` are values by kind of trace; `since` and `until` are ms since the epoch.
    Raises StoreError."""
    kind = _asked(wanted)
    return iter(store.trace(kind, wanted[kind], since, until, most)) if kind else _queued(store, since, until)


def fits(event: Event, wanted: Mapping[str, str]) -> bool:
    """Whether one of the candidates, of which this is the first event, is what is wanted in the rest as well."""
    asked = _asked(wanted)
    return all(
        kind == asked or getattr(event, _KINDS[kind]).lower() == value.lower() for kind, value in wanted.items()
    )


def _asked(wanted: Mapping[str, str]) -> str:
    """By which kind of trace candidates are found; "": by time."""
    return next((kind for kind in _KINDS if kind in wanted), "")


def _queued(source: Source, since: int, until: int) -> Iterator[str | None]:
    first, last = before(source, since), before(source, until + 1)
    while last > first:
        start = max(last - _PAGE, first)
        page: list[Numbered] = [one for one in source.events(start, _PAGE) if one.number <= last]
        for one in reversed(page):
            yield one.event.id if one.event.kind == "queued" else None
        last = start
