"""What is said to the API: any bytes on a connection, and requests whose parts are odd."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.dispatch.decisions import Decisions
from relay.dispatch.holds import Holds
from relay.http.decisions import DecisionsApi
from relay.http.holds import HoldsApi
from relay.http.warmup import WarmupApi
from relay.http.why import WhyApi
from relay.logs.maillog import MailLog
from relay.message.address import parse
from relay.queue import keys
from relay.queue.store import LaneKey, Page, Place
from relay.zone.decision import Scope
from tests.fuzz.choices import bit, head, long, pieces
from tests.unit.api_rig import NOW, Client, FakeStore, Rig, row, stored

_head = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [ -~]+\r\n((?:[!-9;-~]+: [ -~]*\r\n)*)\r\n").match
_length = re.compile(rb"(?im)^content-length: ([0-9]+)\r$").search


class _Store(FakeStore):
    """Looks things up by the keys of the queue."""

    def lanes(self, after: LaneKey | None, limit: int) -> list[tuple[LaneKey, int]]:
        if after is not None:
            keys.lane(*after)
        return super().lanes(after, limit)

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Page:
        if start is not None:
            keys.due(*lane, *start)
        return super().scan(lane, start, until, limit)


class _Nothing:
    """In the queue, and in warm-up."""

    def why(self, queue_id: str, seq: int) -> None:
        return None

    def whys(self, queue_id: str, most: int) -> list[Any]:
        return []

    def listed(self, address: str, site: str) -> list[Any]:
        return []

    def next_change(self) -> int:
        return NOW + 1


class _Api(Rig):
    """One for all inputs, as to make one takes longer than most requests."""

    def __init__(self) -> None:
        clock, nothing = Clock(), _Nothing()  # Another clock than that of the connections.
        decisions = Decisions(MailLog(clock, self._now), self._now)
        self._ids = iter(range(0))
        self._holds = Holds(Path("none"), clock, self._now, _written, decisions, lambda: None, self._id)
        more = (
            WhyApi(nothing, nothing),
            WarmupApi(nothing, self._now),
            HoldsApi(self._holds, lambda: ("bulk", "default"), clock, self._now),
            DecisionsApi(decisions),
        )
        super().__init__(demo_login=True, more=more, max_size=5000, max_recipients=5)
        # The site has it already.
        self.store.__class__ = _Store

    def _now(self) -> int:
        return NOW

    def _id(self) -> str:
        return f"a{next(self._ids)}"

    def begin(self) -> None:
        """As if nothing had been said yet."""
        for hold in self._holds.listed():
            self._holds.release(hold.id)
        self._ids = iter(range(100_000))
        self.backoff.end(Scope(), NOW)
        self.backoff.complained("default", "example.net", "192.0.2.7", "rate", "421 4.7.0 too much", NOW)
        self.store.messages.clear()
        self.store.rows.clear()
        rows = [row(1, "b@example.net"), row(2, "c@d.test", NOW + 1)]
        self.store.add(stored("a@example.com", b"Subject: x\r\n", b"text\r\n"), rows, b"text\r\n")
        self.intake.submissions.clear()


def _written(*_: object) -> Deferred[None]:
    return succeed(None)


_api: Callable[[], _Api] = lru_cache(1)(_Api)


def http(data: bytes) -> None:
    """A connection in any split gets the same answers, each of them whole and none an error of ours; what
    is taken of mail has addresses that are, and clean line ends."""
    (options, first, second), rest = head(data, 3)
    wire = _request(rest) if bit(options, 0) else long(rest)
    whole = _answers([wire])
    assert whole == _answers(pieces(wire, first, second)), whole


def _request(rest: bytes) -> bytes:
    """A request line and fields, and behind a NUL the body. Its length is said as it is."""
    front, _, body = rest.partition(b"\0")
    line, *fields = front.split(b"\n")
    body = long(body)
    more = (b"Host: localhost", b"Content-Length: %d" % len(body), *filter(None, fields))
    return b"\r\n".join((line + b" HTTP/1.1", *more, b"", body))


def _answers(given: Iterable[bytes]) -> list[bytes]:
    """Their statuses."""
    api = _api()
    api.begin()
    client = Client(api)
    for piece in given:
        client.send(piece)
    said = client.transport.value()
    client.lose()
    assert api.clock.getDelayedCalls() == [], "something goes on for a client that is gone"
    for submission in api.intake.submissions:
        text = submission.text.replace(b"\r\n", b"")
        assert b"\r" not in text and b"\n" not in text
        assert submission.finished or submission.abandoned
        sender, recipients = submission.finished or ("", None)
        assert all(parse(address).text == address for address in (sender, *(recipients or ())) if address)
    return list(_statuses(said))


def _statuses(said: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(said):
        found = _head(said, at)
        assert found is not None, said[at : at + 500]
        assert found[1] != b"500", said[at : at + 500]
        yield found[1]
        at = found.end()
        length = _length(found[2])
        if length is None or said.startswith(b"HTTP/1.", at) or at == len(said):  # as behind HEAD
            continue
        body = said[at : at + int(length[1])]
        assert len(body) == int(length[1])
        if b"Content-Type: application/json\r\n" in found[2]:
            json.loads(body)
        at += len(body)
