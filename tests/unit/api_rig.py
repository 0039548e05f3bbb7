"""The API on a string transport, over a queue, an intake and an operator that fit on a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from relay.access.access import Access
from relay.access.apikey import ApiKey
from relay.access.caller import Scope
from relay.access.roll import Roll
from relay.config.schema import Access as AccessSection
from relay.config.schema import Api
from relay.config.schema import Backoff as BackoffSection
from relay.dispatch.operator import LeaseInfo
from relay.events.steps import Steps
from relay.events.verdicts import Verdicts
from relay.http.audit import Audit
from relay.http.backoff import BackoffApi
from relay.http.operator import Standing
from relay.http.site import make_site
from relay.intake.onetime import OneTime
from relay.listener.door import Refused, Settled, Terms
from relay.message.dialogue import Dialogue
from relay.message.envelope import Envelope
from relay.message.event import Event, Numbered
from relay.message.mark import Mark, Taken
from relay.message.user import User
from relay.message.values import Delivery, Message, Origin
from relay.metrics.definitions import Metrics
from relay.queue.store import LaneKey, Page, Place, Unreadable, ZoneCount
from relay.smtp.reply import reply
from relay.zone.backoff import Backoff
from relay.zone.decision import Decision
from tests.unit.suppression_rig import FakeShelf

NOW = 1795319890_123
ID = "1a20169d1ea0007acc"


class FakeStore:
    """The reading half of a queue."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.rows: list[Delivery] = []
        self.chunks: dict[tuple[str, int], bytes] = {}
        self.dialogues: dict[tuple[str, int], Dialogue] = {}
        self.told: list[Event] = []
        self.damaged = False

    def add(self, message: Message, rows: Sequence[Delivery], *chunks: bytes) -> None:
        self.messages[message.id] = message
        self.rows.extend(rows)
        self.chunks.update({(message.id, number): chunk for number, chunk in enumerate(chunks)})

    def message(self, queue_id: str) -> Message | None:
        if self.damaged:
            raise Unreadable("damaged")
        return self.messages.get(queue_id)

    def delivery(self, queue_id: str, seq: int) -> Delivery | None:
        return next((row for row in self.rows if (row.id, row.seq) == (queue_id, seq)), None)

    def deliveries(self, queue_id: str, after: int, limit: int) -> list[Delivery]:
        rows = sorted(
            (row for row in self.rows if row.id == queue_id and row.seq > after), key=lambda r: r.seq
        )
        return rows[:limit]

    def dialogue(self, queue_id: str, seq: int) -> Dialogue | None:
        return self.dialogues.get((queue_id, seq))

    def history(self, queue_id: str, seq: int, limit: int) -> list[Numbered]:
        found = [one for one in self.told if one.id == queue_id and one.seq in (0, seq)]
        return [Numbered(*one) for one in enumerate(found, 1)][:limit]

    def recipients(self, queue_id: str) -> list[str]:
        return [row.recipient for row in self.deliveries(queue_id, 0, 10**6)]

    def chunk(self, queue_id: str, number: int) -> bytes:
        try:
            return self.chunks[queue_id, number]
        except KeyError:
            raise Unreadable("missing") from None

    def count(self, zone: str, now: int) -> ZoneCount:
        rows = [row for row in self.rows if row.zone == zone]
        queued = sum(row.due <= now and not row.held for row in rows)
        held = sum(bool(row.held) for row in rows)
        return ZoneCount(queued, len(rows) - queued - held, held)

    def zones(self) -> list[str]:
        return sorted({row.zone for row in self.rows})

    def lanes(self, after: LaneKey | None, limit: int) -> list[tuple[LaneKey, int]]:
        lanes: dict[LaneKey, int] = {}
        for row in self.rows:
            lane = LaneKey(row.zone, row.domain, row.flow)
            if not row.held and (after is None or lane > after):
                lanes[lane] = min(lanes.get(lane, row.due), row.due)
        return sorted(lanes.items())[:limit]

    def scan(self, lane: LaneKey, start: Place | None, until: int, limit: int) -> Page:
        places = sorted(
            Place(row.due, row.id, row.seq)
            for row in self.rows
            if (row.zone, row.domain, row.flow) == lane and not row.held and row.due <= until
        )
        places = [place for place in places if start is None or place >= start]
        return Page(places[:limit], places[limit].due if len(places) > limit else None)


class FakeSubmission:
    def __init__(self, intake: FakeIntake) -> None:
        self.id = ID
        self.text = b""
        self.size = 0
        self.keep = True
        self.waiting: Deferred[None] | None = None
        self.envelope: Envelope | None = None
        self.message: Message
        self.finished: tuple[str | None, Sequence[str] | None] | None = None
        self.abandoned = False
        self._intake = intake

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.keep:
            self.text += data

    def wait(self) -> Deferred[None] | None:
        return self.waiting

    def settle(self, envelope: Envelope) -> Settled:
        self.envelope = envelope
        sender, named = envelope.sender, envelope.recipients
        recipients = None if named is None else [recipient.address for recipient in named]
        self.finished = (sender, recipients)
        if self._intake.refusal is not None:
            raise self._intake.refusal
        self.message = stored(sender or "header@example.com", b"", self.text, queue_id=self.id)
        return Settled(self.message, recipients or ["to@example.net"])

    def abandon(self) -> None:
        self.abandoned = True


class FakeConsignment:
    def __init__(self, intake: FakeIntake) -> None:
        self._intake = intake
        self._open: list[FakeSubmission] = []
        self._settled: list[FakeSubmission] = []

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> FakeSubmission:
        self._open = [self._intake.open(origin, terms, user)]
        return self._open[0]

    def settle(self, envelope: Envelope) -> Settled:
        submission = self._open.pop()
        settled = submission.settle(envelope)
        self._settled.append(submission)
        return settled

    def keep(self, mark: Mark | None = None) -> Deferred[list[Message | Refused]]:
        settled, self._settled = self._settled, []
        if mark is not None:
            self._intake.marks[mark.token] = mark.taken
        kept: list[Message | Refused] = [one.message for one in settled]
        pending = self._intake.pending
        return succeed(kept) if pending is None else pending.addCallback(lambda _: kept)

    def abandon(self) -> None:
        for submission in (*self._open, *self._settled):
            submission.abandon()
        self._open, self._settled = [], []


class FakeIntake:
    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.opened: list[tuple[Origin, bool]] = []
        self.submissions: list[FakeSubmission] = []
        self.full = False
        self.refusal: Refused | None = None
        self.pending: Deferred[Message] | None = None
        self.marks: dict[bytes, Taken] = {}
        self.users: list[User | None] = []

    def consignment(self) -> FakeConsignment:
        return FakeConsignment(self)

    def recall(self, token: bytes, since: int) -> Taken | None:
        return self.marks.get(token)

    def open(self, origin: Origin, terms: Terms, user: User | None = None) -> FakeSubmission:
        if self.full:
            raise Refused(reply(452, "4.3.1 The queue can't take mail now"))
        self.opened.append((origin, terms.routing_headers))
        self.users.append(user)
        self.submissions.append(FakeSubmission(self))
        return self.submissions[-1]


class FakeOperator:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int | None]] = []
        self.leases: dict[tuple[str, int], LeaseInfo] = {}

    def delete(self, queue_id: str, seq: int | None) -> Deferred[int]:
        self.asked.append(("delete", queue_id, seq))
        return succeed(1)

    def send_now(self, queue_id: str, seq: int | None) -> Deferred[int]:
        self.asked.append(("send_now", queue_id, seq))
        return succeed(2)

    def leased(self, queue_id: str, seq: int) -> LeaseInfo | None:
        return self.leases.get((queue_id, seq))


def stored(sender: str, headers: bytes, *chunks: bytes, queue_id: str = ID) -> Message:
    size = sum(map(len, chunks))
    return Message(
        queue_id, sender, Origin("feeder", "127.0.0.1", "client"), NOW, headers, size, len(chunks), 1
    )


def row(seq: int, recipient: str, due: int = NOW, zone: str = "default", **more: Any) -> Delivery:
    domain = recipient.rpartition("@")[2]
    return Delivery(more.pop("queue_id", ID), seq, zone, domain, recipient, due, **more)


class QuickPasswords:
    """As relay.access.passwords, without what takes long."""

    waiting = 0

    def matches(self, password: str, kept: str, keys: object) -> Deferred[bool]:
        return succeed(kept == f"hash of {password}")

    def hashed(self, password: str) -> Deferred[str]:
        return succeed(f"hash of {password}")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """`detail`, `code` and so on of an error under /v1 (RFC 9457)."""
        assert self.headers["content-type"] == "application/problem+json", self
        told: dict[str, Any] = self.json
        title = HTTPStatus(self.status).phrase
        assert (told.pop("type"), told.pop("title"), told.pop("status")) == ("about:blank", title, self.status), self
        return told


class Rig:
    """A site and a way to talk to it."""

    def __init__(
        self,
        peer: str = "127.0.0.1",
        clock: Any = None,
        demo_login: bool = False,
        more: Sequence[Any] | Callable[[Rig], Sequence[Any]] = (),
        in_thread: Any = maybeDeferred,
        verdicts: Any = None,
        **options: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.store = FakeStore()
        self.intake = FakeIntake(self.store)
        self.operator = FakeOperator()
        self.metrics = Metrics()
        self.decisions: list[Decision] = []
        self.backoff = Backoff(BackoffSection(), self.decisions.append)
        self.peer = IPv4Address("TCP", peer, 4321)
        self.shelf = FakeShelf()
        self.roll = Roll(self.shelf, lambda: NOW)
        self.access = Access(AccessSection(), self.clock, lambda: NOW, self.roll)
        self.access._passwords = QuickPasswords()  # type: ignore[assignment]
        self.audited: list[Event] = []
        zones = (("default", False), ("bounces", False), ("old", True))
        self.site = make_site(
            Api(**options),
            hostname="relay.example.com",
            admission=self.access.admission,
            audit=Audit(Steps(True, lambda: NOW), self._tell),
            demo_login=demo_login,
            intake=self.intake,
            verdicts=None if verdicts is None else Verdicts(verdicts, self.clock),
            zones=lambda: [name for name, disabled in zones if not disabled],
            once=OneTime(self.intake, lambda: NOW, 86_400_000),  # type: ignore[arg-type]
            store=self.store,  # type: ignore[arg-type]
            operator=self.operator,
            standing=Standing(NOW - 1000, lambda: zones, self.metrics.processed),
            metrics=self.metrics,
            reactor=self.clock,
            now=lambda: NOW,
            more=(*(more(self) if callable(more) else more), BackoffApi(self.backoff, lambda: NOW)),
            in_thread=in_thread,
        )

    def _tell(self, events: Sequence[Event]) -> Deferred[None]:
        self.audited += events
        return succeed(None)

    def key(self, *scopes: Scope, **more: Any) -> str:
        """A key with these scopes, as it is shown."""
        key = ApiKey("", more.pop("name", f"key{len(self.roll.keys)}"), b"", scopes, **more)
        return str(self.roll.add_key(key).result)

    def connect(self) -> Client:
        return Client(self)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.connect().request(method, path, body, **headers)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)


class Client:
    """One connection."""

    def __init__(self, rig: Rig) -> None:
        self.transport = StringTransport(peerAddress=rig.peer)
        self.protocol: Any = rig.site.buildProtocol(rig.peer)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def head(self, method: str, path: str, length: int | None, **headers: str) -> None:
        fields = {"Host": "127.0.0.1:8080", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if length is not None:
            fields["Content-Length"] = str(length)
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items() if v)]
        self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n")

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.head(method, path, len(body) if body or method in ("POST", "PUT") else None, **headers)
        if body:
            self.send(body)
        return self.answer()

    def answer(self) -> Answer:
        """The one answer that came; fails when there is none or a second."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.transport.clear()
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = headers.get("content-length")
        assert length is None or int(length) == len(body), (head, body)
        return Answer(int(status.split(" ")[1]), headers, body)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
