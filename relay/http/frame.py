"""What happens around each operation: its fields are read and checked before, and its answer is written after."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
from twisted.web import http

from relay.config.plain import meant, shown
from relay.http.answer import Problem, answer, refusal
from relay.http.audit import Audit
from relay.http.fields import wrong
from relay.http.operation import Operation

if TYPE_CHECKING:
    from relay.access.caller import Caller
    from relay.http.request import ApiRequest, Upload

_MAX_SHOWN = 60
_LISTS = (list, tuple, set, frozenset)
#: How msgspec says where and what: `Expected `int`, got `str` - at `$.limit``.
_place = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", re.DOTALL).fullmatch
_missing = re.compile(r"Object missing required field `(.*)`", re.DOTALL).fullmatch
_quoted = re.compile(r"`([^`]*)`").sub
#: Its words for what may stand somewhere, and ours.
_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_unknown = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL).fullmatch


class Call:
    """One request for an operation: who asks, and what its query and its body say, as they were declared. `status` may
    be set to another that is declared. `about` is what it changes, for those who read who has changed what: what the
    path names, unless the operation knows better."""

    __slots__ = ("about", "body", "query", "request", "status")

    def __init__(self, request: ApiRequest, query: Any, body: Any, status: int, about: str = "") -> None:
        self.request = request
        self.query = query
        self.body = body
        self.status = status
        self.about = about

    @property
    def caller(self) -> Caller:
        return self.request.caller


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A query that says nothing."""


class Frame:
    """Of one operation; Klein calls `serve`."""

    def __init__(self, operation: Operation, method: Any, audit: Audit | None = None) -> None:
        """`audit` is told who has changed what, where the operation says so."""
        self.operation = operation
        self._method = method
        self._audit = audit
        kind = operation.query or (Nothing if operation.path.startswith("/v1/") else None)
        self._query = None if kind is None else QueryReader(kind)
        self._body = None if operation.body is None else BodyReader(operation.body)
        self._begin: Callable[[Call], Upload] | None = None
        if operation.upload:
            self._begin = getattr(method.__self__, operation.upload)

    def admit(self, request: ApiRequest) -> None:
        """A request whose header is there: its caller may ask this, and its body may come. Raises Problem."""
        self._check(request)
        request.limit = self.operation.max_body
        if self._begin is not None:
            query = request.uri.partition(b"?")[2]
            request.upload = self._begin(self._call(request, http.parse_qs(query, True)))
            request.limit = request.upload.limit

    async def serve(self, request: ApiRequest, **names: str) -> bytes | None:
        """The body is there. Raises Problem."""
        if not request.stands():
            if request.upload is not None:
                request.upload.abandon()
            raise refusal(401, "Unauthorized", "What was shown is good no more")
        self._check(request)
        call = self._call(request, request.args)
        call.about = " ".join(names.values())
        if self._body is not None:
            call.body = self._body(request.content.getvalue())
        said = self._method(call, **names)
        if inspect.isawaitable(said):
            said = await said
        if self._audit is not None and self.operation.audited:
            await self._audit.note(request, self.operation.audited, call.about)
        if isinstance(said, bytes) or (said is None and self.operation.answer is None and request.startedWriting):
            return said
        if said is None and call.status == 204:
            request.setResponseCode(204)
            return b""
        return answer(request, said, call.status)

    def _check(self, request: ApiRequest) -> None:
        scope, caller = self.operation.scope, request.caller
        if scope is not None:
            if not caller.may(scope):
                raise refusal(403, "Forbidden", f"This needs the scope {scope}")
            if caller.tenant and not self.operation.by_tenant:
                raise refusal(403, "Forbidden", "This is about the whole relay, and not for one of its tenants")

    def _call(self, request: ApiRequest, args: Mapping[bytes, list[bytes]]) -> Call:
        query = None if self._query is None else self._query(args)
        return Call(request, query, None, self.operation.status)


class QueryReader:
    """Reads a query into a struct: each field once, or several times, or with commas where it is a list.

    One that doesn't forbid fields it doesn't know is that of an older path: there the last of several counts, and
    nothing is a comma.
    """

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._kind = kind
        self._strict = kind.__struct_config__.forbid_unknown_fields
        fields = msgspec.structs.fields(kind)
        self._known = [field.encode_name for field in fields]
        self._lists = {field.encode_name for field in fields if _is_list(field.type)}

    def __call__(self, args: Mapping[bytes, list[bytes]]) -> Any:
        """Raises Problem: 400 with the field."""
        values: dict[str, Any] = {}
        for name, found in args.items():
            key = name.decode("utf-8", "replace")
            if key in self._known:
                values[key] = self._value(key, found)
            elif self._strict:
                raise unknown(key, self._known)
        try:
            return msgspec.convert(values, self._kind, strict=False)
        except msgspec.ValidationError as error:
            raise unfit(str(error), self._known, values) from None

    def _value(self, key: str, found: list[bytes]) -> str | list[str]:
        try:
            texts = [one.decode("utf-8") for one in found]
        except UnicodeDecodeError:
            raise wrong(key, "expected UTF-8") from None
        if key in self._lists:
            return [part for text in texts for part in text.split(",") if part] if self._strict else texts
        if self._strict and len(texts) > 1:
            raise wrong(key, "expected it once")
        return texts[-1]


class BodyReader:
    """Reads JSON into what it is declared to be, whatever the request calls it."""

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._known = _names(kind)

    def __call__(self, body: bytes) -> Any:
        """Raises Problem: 400: it is no JSON, or a field can't stand, which is named."""
        try:
            return self._decode(body)
        except msgspec.ValidationError as error:
            raise unfit(str(error), self._known) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise refusal(400, "InvalidContent", f"Expected JSON: {error}") from None


def unfit(text: str, known: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Problem:
    """What msgspec found wrong, as we say it: which field, and what was expected. `known` are the fields at the top."""
    found = _place(text)
    what, where = (found[1], (found[2] or "").lstrip(".")) if found else (text, "")
    if missing := _missing(what):
        return wrong(f"{where}.{missing[1]}".lstrip("."), "it is missing")
    if extra := _unknown(what):
        return wrong(f"{where}.{extra[1]}", "unknown field") if where else unknown(extra[1], known)
    said = _quoted(_in_words, what)
    if not where:
        return refusal(400, "InvalidContent", said[:200])
    if values and isinstance(values.get(where), str):
        said = f"{said.partition(', got')[0]}, got {shown(values[where])}"
    return wrong(where, said[:1].lower() + said[1:])


def _in_words(found: re.Match[str]) -> str:
    """One kind, or several of which each may stand there."""
    *others, last = [_WORDS.get(kind, kind) for kind in found[1].split(" | ")]
    return f"{', '.join(others)} or {last}" if others else last


def unknown(name: str, known: Sequence[str]) -> Problem:
    """A field that there isn't."""
    hint = meant(name[:_MAX_SHOWN], known) or ("; expected one of " + ", ".join(known) if known else "")
    return wrong(name, "unknown field" + hint)


def _names(kind: Any) -> list[str]:
    """The fields of a struct; of anything else there are none."""
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return [field.encode_name for field in msgspec.structs.fields(kind)] if is_struct else []


def _is_list(kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(map(_is_list, get_args(kind)))
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    return kind in _LISTS or get_origin(kind) in _LISTS
