"""What the API can be asked, declared once: it is routed, checked and documented by the same words.

A group of resources is a class whose methods are declared with `operation`:

    @operation("GET", "/v1/holds/{id}", scope=Scope.READ, answer=HoldShown, errors=(404,), tag="holds")
    async def hold(self, call: Call, id: str) -> HoldShown:
        \"""What it is about, in a line.\"""
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from relay.access.caller import Scope

#: Bytes of a body that isn't mail.
MAX_BODY = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
#: What changes nothing (RFC 9110 9.2.1).
_SAFE = ("GET", "HEAD", "OPTIONS")

_F = TypeVar("_F", bound=Callable[..., Any])
_name_in_path = re.compile(r"\{(?:(\w+):)?(\w+)\}")


class Operation(NamedTuple):
    """One method of one path, such as `/v1/holds/{id}`; `{path:which}` takes slashes too.

    `scope`: what a caller needs; None: nothing. `query` and `body` are structs that say which fields there may be; one
    that doesn't forbid fields it doesn't know ignores them. `answer` is the type of what is returned, of the kind
    of content that it `gives`; None: nothing, or no JSON. It comes with `status`, or one of those `also` if the call
    says so.
    `errors` are the statuses that it may end with besides those of all.

    A body that the method reads itself has no `body`; `takes` are the kinds of content then, each with the type of what
    is in it, None: octets. `upload` is the name of the method that begins to take one as it comes: when the header is
    there it gets the Call, as yet without a body, and returns a relay.http.request.Upload.

    `by_tenant`: it heeds the tenant of its caller; callers of a tenant may ask nothing else, but for what needs no
    scope. `hidden`: another spelling of one that is documented. `is_open`: anybody may ask it, from anywhere, who shows
    nothing. `fields`: those of the request's header that it reads, see relay.http.words. `audit`: what a success is
    called where it is written down who has changed what, such as "key.created"; see `audited`.
    """

    method: str
    path: str
    scope: Scope | None
    query: type[Any] | None
    body: Any
    answer: Any
    status: int
    also: tuple[int, ...]
    errors: tuple[int, ...]
    tag: str
    takes: Mapping[str, Any]
    gives: str
    upload: str
    max_body: int
    by_tenant: bool
    hidden: bool
    name: str
    text: str
    is_open: bool
    audit: str
    fields: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """What the path leaves open."""
        return [name for _, name in _name_in_path.findall(self.path)]

    @property
    def is_safe(self) -> bool:
        """It changes nothing."""
        return self.method in _SAFE

    @property
    def audited(self) -> str:
        """What a success is called in the audit; "": it isn't in there, for it changes nothing, or hands over mail, of
        which there are events anyway."""
        changes = not self.is_safe and self.scope in (Scope.OPERATE, Scope.ADMIN)
        return self.audit or (f"{self.tag}.{self.name}" if changes else "")

    @property
    def route(self) -> str:
        """The path as Klein has it."""
        return _name_in_path.sub(lambda found: f"<{found[1] + ':' if found[1] else ''}{found[2]}>", self.path)

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI has it."""
        return _name_in_path.sub(r"{\2}", self.path)


def operation(
    method: str,
    path: str,
    *,
    scope: Scope | None,
    tag: str,
    query: type[Any] | None = None,
    body: Any = None,
    answer: Any = None,
    status: int = 200,
    also: tuple[int, ...] = (),
    errors: tuple[int, ...] = (),
    takes: Mapping[str, Any] | None = None,
    gives: str = JSON,
    upload: str = "",
    max_body: int = MAX_BODY,
    by_tenant: bool = False,
    hidden: bool = False,
    is_open: bool = False,
    audit: str = "",
    fields: tuple[str, ...] = (),
) -> Callable[[_F], _F]:
    """Declares a method, see Operation. Its docstring documents it, the first line as a summary. It gets a Call and
    what the path leaves open, and returns the answer. Bytes are an answer already, and so is None after a write."""

    def declare(function: _F) -> _F:
        declared = Operation(
            method,
            path,
            scope,
            query,
            body,
            answer,
            status,
            also,
            errors,
            tag,
            {JSON: body} if takes is None and body is not None else takes or {},
            gives,
            upload,
            max_body,
            by_tenant,
            hidden,
            function.__name__,
            inspect.cleandoc(function.__doc__ or ""),
            is_open,
            audit,
            fields,
        )
        known: tuple[Operation, ...] = getattr(function, "operations", ())
        function.operations = (declared, *known)  # type: ignore[attr-defined]
        return function

    return declare


def operations(group: object) -> Iterator[tuple[Operation, Callable[..., Any]]]:
    """What a group of resources declares, in the order of its class, each with the method."""
    for kind in reversed(type(group).__mro__):
        for name, function in vars(kind).items():
            for declared in getattr(function, "operations", ()):
                yield declared, getattr(group, name)
