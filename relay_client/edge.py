"""What the two clients have in common: how a method that makes a question becomes one that asks it.

A group of methods is written once. Each makes an `Ask`, a `Listing` or a `Stream`; on a group of `Client` it is asked
at once, on one of `AsyncClient` it is awaited.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from relay_client.ask import Ask, Listing
from relay_client.sse import Stream

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound="Blocking | Waiting", covariant=True)


class Blocking(Protocol):
    """Asks and comes back with the answer."""

    def ask(self, ask: Ask[T], /) -> T: ...
    def walk(self, listing: Listing[T], /) -> Iterator[T]: ...
    def take(self, ask: Ask[bytes], /) -> Iterator[bytes]: ...
    def follow(self, stream: Stream[T], /) -> Iterator[T]: ...


class Waiting(Protocol):
    """Asks and is awaited."""

    def ask(self, ask: Ask[T], /) -> Coroutine[Any, Any, T]: ...
    def walk(self, listing: Listing[T], /) -> AsyncIterator[T]: ...
    def take(self, ask: Ask[bytes], /) -> AsyncIterator[bytes]: ...
    def follow(self, stream: Stream[T], /) -> AsyncIterator[T]: ...


class Group(Generic[E]):
    """Methods about one thing."""

    def __init__(self, edge: E) -> None:
        self.edge = edge


class _Method:
    """A method that makes something for the edge's method `_by`."""

    _by: str

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        functools.update_wrapper(self, make)  # type: ignore[arg-type]  # for help()

    def _bound(self, group: Any) -> Any:
        if group is None:
            return self
        run = getattr(group.edge, self._by)

        @functools.wraps(self.make)
        def method(*args: Any, **fields: Any) -> Any:
            return run(self.make(group, *args, **fields))

        return method


class asks(_Method, Generic[P, T]):
    """One question, one answer."""

    _by = "ask"

    def __init__(self, make: Callable[Concatenate[Any, P], Ask[T]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, group: Group[Blocking], owner: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[Waiting], owner: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, group: None, owner: Any = None) -> asks[P, T]: ...
    def __get__(self, group: Any, owner: Any = None) -> Any:
        return self._bound(group)


class lists(_Method, Generic[P, T]):
    """Page by page, as it is iterated over."""

    _by = "walk"

    def __init__(self, make: Callable[Concatenate[Any, P], Listing[T]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, group: Group[Blocking], owner: Any = None) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: Group[Waiting], owner: Any = None) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, group: None, owner: Any = None) -> lists[P, T]: ...
    def __get__(self, group: Any, owner: Any = None) -> Any:
        return self._bound(group)


class takes(_Method, Generic[P]):
    """Bytes, in pieces."""

    _by = "take"

    def __init__(self, make: Callable[Concatenate[Any, P], Ask[bytes]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, group: Group[Blocking], owner: Any = None) -> Callable[P, Iterator[bytes]]: ...
    @overload
    def __get__(self, group: Group[Waiting], owner: Any = None) -> Callable[P, AsyncIterator[bytes]]: ...
    @overload
    def __get__(self, group: None, owner: Any = None) -> takes[P]: ...
    def __get__(self, group: Any, owner: Any = None) -> Any:
        return self._bound(group)


class follows(_Method, Generic[P, T]):
    """What comes, until nobody wants it any more."""

    _by = "follow"

    def __init__(self, make: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, group: Group[Blocking], owner: Any = None) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: Group[Waiting], owner: Any = None) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, group: None, owner: Any = None) -> follows[P, T]: ...
    def __get__(self, group: Any, owner: Any = None) -> Any:
        return self._bound(group)
