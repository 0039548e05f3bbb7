"""Server-sent events (WHATWG HTML 9.2) and how a stream of them is followed over the end of a connection. Pure."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from relay_client.ask import Ask
from relay_client.errors import ApiProblem, NoAnswer
from relay_client.talk import BUSY, Habits

T = TypeVar("T")

#: Bytes of an event at most.
_LONGEST = 1024 * 1024


class Sent(NamedTuple):
    """An event of the stream; `id` "": it has none."""

    name: str
    data: bytes
    id: str


class Parser:
    """Takes a stream as it comes, cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._id = "", ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[Sent]:
        """What is complete now. Raises ValueError: an event is too long."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) + sum(map(len, self._data)) > _LONGEST:
            raise ValueError(f"an event of more than {_LONGEST} bytes")
        found = []
        for line in lines:
            if line:
                self._field(line)
                continue
            if self._data:
                found.append(Sent(self._name or "message", b"\n".join(self._data), self._id))
            self._name, self._id, self._data = "", "", []
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")


class Stream(msgspec.Struct, Generic[T], frozen=True):
    """What is streamed: by which question, and what the events of each name are; others are passed over."""

    ask: Ask[Any]
    kinds: dict[str, type[T]]


class Following(Generic[T]):
    """One stream over many connections: each begins behind the last event that came. It is looked for again as long as
    it is wanted, once it was there; before, as often as anything else is tried."""

    def __init__(self, stream: Stream[T], habits: Habits) -> None:
        self._stream = stream
        self._habits = habits
        self._parser = Parser()
        self._last = ""
        self._failed = 0
        self._begun = False

    def ask(self) -> Ask[Any]:
        """For the next connection."""
        self._parser = Parser()
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self._last} if self._last else {})}
        return replace(self._stream.ask, headers=headers)

    def heard(self, data: bytes) -> list[T]:
        """What has come. Raises NoAnswer: no relay says that."""
        self._begun, self._failed = True, 0
        found = []
        try:
            for one in self._parser.feed(data):
                if one.id.isdigit():
                    self._last = one.id
                if one.name in self._stream.kinds:
                    found.append(msgspec.json.decode(one.data, type=self._stream.kinds[one.name]))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoAnswer(f"what is streamed is none of a relay of this version: {error}") from None
        return found

    def refused(self, refusal: ApiProblem) -> str:
        """Why there is no connection now. Raises ApiProblem: there will be none."""
        if refusal.status not in BUSY:
            raise refusal
        return refusal.detail

    def pause(self, why: str) -> float:
        """Seconds until the next try, after a connection has ended or none was had. Raises NoAnswer."""
        self._failed += 1
        if not self._begun and self._failed >= self._habits.tries:
            raise NoAnswer(why)
        return self._habits.pause(min(self._failed, 10))
