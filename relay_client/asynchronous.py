"""The client for asyncio (and trio): the same methods, awaited."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
import httpx

from relay_client.api import Api
from relay_client.ask import Ask, Listing, Reply
from relay_client.edge import Waiting
from relay_client.errors import ApiProblem, NoAnswer, problem
from relay_client.http import LONGEST, SILENCE, headers_of, lost, place_of, reply_of, request_of
from relay_client.sse import Following, Stream
from relay_client.talk import Habits, Lost, Pause, Try, retry_after, talk

T = TypeVar("T")


class AsyncClient(Api[Waiting]):
    """Asks a relay, see Client; used by one event loop.

        >>> async with AsyncClient("https://relay.example.com", key) as relay:
        ...     async for delivery in relay.queue.search(Wanted(state="deferred")):
        ...         print(delivery.recipient, delivery.last_reply)
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        tries: int = 5,
        verify: Any = True,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises ValueError: `url` is none."""
        self._base, socket = place_of(url)
        if transport is None and socket is not None:
            transport = httpx.AsyncHTTPTransport(uds=socket)
        self._http = httpx.AsyncClient(headers=headers_of(key), verify=verify, transport=transport, trust_env=False)
        self._timeout = timeout
        self._habits = Habits(tries, random.random, time.time)
        self._sleep = sleep
        super().__init__(self)

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- the edge

    async def ask(self, ask: Ask[T], /) -> T:
        """Puts a question of one's own."""
        talking = talk(ask, self._habits)
        said: Reply | Lost | None = None
        try:
            while True:
                step = talking.send(said)
                if isinstance(step, Pause):
                    await self._sleep(step.seconds)
                    said = None
                else:
                    said = await self._try(step)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def walk(self, listing: Listing[T], /) -> AsyncIterator[T]:
        ask: Ask[Any] | None = listing.first
        while ask is not None:
            told = await self.ask(ask)
            for item in listing.items(told):
                yield item
            ask = listing.further(ask, told)

    async def take(self, ask: Ask[bytes], /) -> AsyncIterator[bytes]:
        try:
            async with self._opened(ask, self._timeout) as response:
                async for data in response.aiter_bytes():
                    yield data
        except httpx.HTTPError as error:
            raise NoAnswer(lost(error, self._base).why) from None

    async def follow(self, stream: Stream[T], /) -> AsyncIterator[T]:
        following = Following(stream, self._habits)
        while True:
            why = f"{self._base} ends the stream"
            try:
                async with self._opened(following.ask(), SILENCE) as response:
                    async for data in response.aiter_bytes():
                        for one in following.heard(data):
                            yield one
            except ApiProblem as refusal:
                why = following.refused(refusal)
            except httpx.HTTPError as error:
                why = lost(error, self._base).why
            await self._sleep(following.pause(why))

    async def _try(self, step: Try) -> Reply | Lost:
        ask = step.ask
        content = ask.body if isinstance(ask.body, bytes | None) else _each(ask.body)
        try:
            async with self._http.stream(**request_of(ask, self._base, self._timeout, content)) as response:
                return reply_of(response, await self._read(response))
        except httpx.HTTPError as error:
            return lost(error, self._base)

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for data in response.aiter_bytes():
            body += data
            if len(body) > LONGEST:
                raise NoAnswer(f"{self._base} answers with more than {LONGEST} bytes")
        return bytes(body)

    @asynccontextmanager
    async def _opened(self, ask: Ask[Any], timeout: float) -> AsyncIterator[httpx.Response]:
        """An answer that is read as it comes. Raises ApiProblem, httpx.HTTPError."""
        async with self._http.stream(**request_of(ask, self._base, timeout, None)) as response:
            if response.status_code >= 300:
                reply = reply_of(response, await self._read(response))
                raise problem(reply, retry_after(reply, self._habits.now()))
            yield response


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
