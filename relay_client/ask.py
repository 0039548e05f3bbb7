"""A question to the relay and what is made of its answer, as values: nothing here touches a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec.structs import replace

T = TypeVar("T")

JSON = "application/json"
#: Bodies: bytes, or pieces that can be had once.
Body = bytes | Iterable[bytes]


class Reply(NamedTuple):
    """What came back; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Ask(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request.

    `template` is the path as the OpenAPI document has it, `names` what stands in its braces. `answer` is the type of
    what is answered, None: nothing. `good` are statuses besides 2xx that are answers too. `repeatable`: asked twice it
    does no more than once. `patience`: seconds that the answer may take beyond the client's time-out.
    """

    method: str
    template: str
    answer: Any
    names: tuple[str, ...] = ()
    query: Sequence[tuple[str, str]] = ()
    body: Body | None = None
    kind: str = JSON
    headers: Mapping[str, str] = {}
    good: tuple[int, ...] = ()
    repeatable: bool = False
    patience: float = 0.0

    @property
    def target(self) -> str:
        """Path and query, as they are asked for."""
        pieces = self.template.split("/")
        names = iter(self.names)
        path = "/".join(quote(next(names), safe="") if piece[:1] == "{" else piece for piece in pieces)
        return f"{path}?{urlencode(self.query)}" if self.query else path

    def read(self, reply: Reply) -> T:
        """Raises msgspec.MsgspecError, ValueError: no relay answers so."""
        if self.answer is None:
            return None  # type: ignore[return-value]
        if self.answer is bytes:
            return reply.body  # type: ignore[return-value]
        return msgspec.json.decode(reply.body, type=self.answer)  # type: ignore[no-any-return]

    def but(self, **query: object) -> Ask[T]:
        """The same with these fields of the query."""
        kept = [(name, value) for name, value in self.query if name not in query]
        return replace(self, query=(*kept, *_query(query)))


class Listing(NamedTuple, Generic[T]):
    """Many things, of which a page comes at a time: `items` are those of an answer, `further` asks for those behind it,
    None: there are none."""

    first: Ask[Any]
    items: Callable[[Any], Sequence[T]]
    further: Callable[[Ask[Any], Any], Ask[Any] | None]


def get(template: str, answer: type[T], *names: str, query: Mapping[str, object] | None = None) -> Ask[T]:
    """Looks at something. Of `query` what is None or an empty list is left out."""
    fields = _query(query or {})
    return Ask(method="GET", template=template, answer=answer, names=_checked(names), query=fields, repeatable=True)


def do(
    method: str,
    template: str,
    answer: type[T],
    *names: str,
    body: object = None,
    query: Mapping[str, object] | None = None,
    **more: Any,
) -> Ask[T]:
    """Changes something. `body` becomes JSON, unless it is bytes or in pieces; of a mapping without what is None."""
    if isinstance(body, Mapping):
        body = {name: _plain(value) for name, value in body.items() if value is not None}
    if not (body is None or isinstance(body, bytes) or "kind" in more):
        body = msgspec.json.encode(body)
    return Ask(
        method=method,
        template=template,
        answer=answer,
        names=_checked(names),
        query=_query(query or {}),
        body=body,  # type: ignore[arg-type]
        **more,
    )


def paged(first: Ask[Any], items: Callable[[Any], Sequence[T]]) -> Listing[T]:
    """What is paged by `cursor` and `next`, as most is."""
    return Listing(first, items, lambda ask, told: None if told.next is None else ask.but(cursor=told.next))


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        # Nothing, and dots, would make another path of it.
        if name.strip(".") == "":
            raise ValueError(f"expected a name, got {name!r}")
    return names


def _query(fields: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _text(value)) for name, value in fields.items() if value not in (None, (), []))


def _text(value: object) -> str:
    value = _plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(_text, value))
    return str(value)


def _plain(value: Any) -> Any:
    """Times as the API takes them. Raises ValueError: one without its offset from UTC."""
    if hasattr(value, "isoformat"):
        if value.tzinfo is None:
            raise ValueError(f"expected a time with its offset from UTC, got {value}")
        return value.isoformat()
    return value
