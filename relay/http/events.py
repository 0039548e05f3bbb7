"""What has happened: the events in their order, and the history of a message, also of one that is gone."""

from __future__ import annotations

from collections.abc import Callable

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from relay.config import plain
from relay.events.shape import shape
from relay.http.answer import answer, failure
from relay.http.fields import number, query_of, wrong
from relay.http.slices import Slices
from relay.message.dialogue import shown
from relay.message.event import KINDS, Numbered
from relay.message.queueid import parse_name
from relay.queue.store import Store, Unreadable

_LIMIT = 100
_MOST = 1000
#: So many events of one delivery or message are shown, or looked at for the first and the last; and so many, or
#: so many names, are looked through for one answer.
_STEPS = 5000
_LOOKED = 20_000
_PAGE = 500
_LAST = 1 << 62
_DAY = 86_400_000
_SOUGHT = {"message_id": "message-id", "sender": "sender", "recipient": "recipient"}


class EventsApi:
    """The resources of events."""

    def __init__(self, store: Store, clock: IReactorTime, now: Callable[[], int], keep: float) -> None:
        """`now` gives ms since the epoch; `keep` is for how long events are kept, in seconds."""
        self._store = store
        self._clock = clock
        self._now = now
        self._keep = round(keep * 1000)

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/events", methods=["GET"])(self.events)
        app.route("/v1/history", methods=["GET"])(self.search)
        app.route("/v1/history/<name>", methods=["GET"])(self.history)

    async def events(self, request: IRequest) -> bytes:
        """The latest 100, or `?limit=` up to 1,000, oldest first; with `?after=` those behind that number; of one kind
        or several with `?kind=`. `next` is what to ask `after` for those to come; `missed`: some in between are
        forgotten."""
        fields = query_of(request, ("after", "limit", "kind"))
        limit = number(fields, "limit", 1, _MOST) or _LIMIT
        kinds = _kinds(fields.get("kind", ""))
        oldest, newest = self._store.event_bounds()
        after = number(fields, "after", 0, _LAST)
        asked = max(newest - limit, oldest - 1) if after is None else min(after, newest)
        found: list[Numbered] = []
        cursor, slices = asked, Slices(self._clock)
        while len(found) < limit and cursor - asked < _LOOKED:
            page = self._store.events(cursor, _PAGE)
            if not page:
                break
            for one in page:
                cursor = one.number
                if not kinds or one.event.kind in kinds:
                    found.append(one)
                    if len(found) == limit:
                        break
            await slices.breathe()
        return answer(
            request,
            {"events": [shape(one) for one in found], "next": cursor, "missed": asked < oldest - 1},
        )

    def history(self, request: IRequest, name: str) -> bytes:
        """All that is known of a delivery (`id.seq`) or a message (`id`), oldest first; of a delivery that has failed
        also what was said at the last failure. 404: nothing is."""
        query_of(request, ())
        queue_id, seq = parse_name(name) or ("", None)
        found = self._store.history(queue_id, seq, _STEPS) if queue_id else []
        if not found:
            raise failure(404, "Nothing is known of it")
        told: dict[str, object] = {"name": name, "events": [shape(one) for one in found]}
        if seq is not None:
            try:
                told["dialogue"] = shown(self._store.dialogue(queue_id, seq))
            except Unreadable as error:
                raise failure(500, f"The dialogue can't be read: {error}") from None
        return answer(request, told)

    async def search(self, request: IRequest) -> bytes:
        """Whose history has this `?message_id=`, `?sender=` or `?recipient=`, in any case; latest first. `since` and
        `until`, ms since the epoch, are when it was queued; `limit` up to 1,000. Each with its first and last event."""
        fields = query_of(request, (*_SOUGHT, "since", "until", "limit"))
        named = [name for name in _SOUGHT if fields.get(name)]
        if len(named) != 1:
            raise wrong("recipient", "expected one of message_id, sender, recipient")
        limit = number(fields, "limit", 1, _MOST) or _LIMIT
        now = self._now()
        since = number(fields, "since", 0, _LAST) or now - self._keep
        until = number(fields, "until", 0, _LAST) or now
        # A clock may have been set back since.
        until = min(until, now + _DAY)
        found: list[dict[str, object]] = []
        slices, more = Slices(self._clock), False
        names = self._store.trace(_SOUGHT[named[0]], fields[named[0]], since, until, _LOOKED + 1)
        for looked, name in enumerate(names):
            if more := len(found) == limit or looked == _LOOKED:
                break
            parsed = parse_name(name)
            ends = self._store.ends(*parsed, _STEPS) if parsed else None
            if ends is not None and since <= ends[0].event.time <= until:
                found.append({"name": name, "first": shape(ends[0]), "last": shape(ends[1])})
            await slices.breathe()
        return answer(request, {"found": found, "more": more})


def _kinds(text: str) -> frozenset[str]:
    """The kinds of a list with commas. Raises Problem."""
    kinds = frozenset(kind for kind in text.split(",") if kind)
    for kind in kinds - KINDS:
        raise wrong("kind", f"unknown kind {plain.shown(kind[:40])}; expected some of " + ", ".join(sorted(KINDS)))
    return kinds
