"""The client that waits for each answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx

from relay_client.api import Api
from relay_client.ask import Ask, Listing, Reply
from relay_client.edge import Blocking
from relay_client.errors import ApiProblem, NoAnswer, problem
from relay_client.http import LONGEST, SILENCE, headers_of, lost, place_of, reply_of, request_of
from relay_client.sse import Following, Stream
from relay_client.talk import Habits, Lost, Pause, Try, retry_after, talk

T = TypeVar("T")


class Client(Api[Blocking]):
    """Asks a relay.

    `url` is `http://HOST:PORT`, `https://HOST` or `unix:PATH`, `key` an API key, which the relay's own machine may do
    without. `timeout` is in seconds, for each try; `tries` how often something is tried that may be tried again.
    `verify` is what the certificate is checked against, as httpx has it. Proxies that the environment names are passed
    by. May be used by several threads.

        >>> with Client("http://127.0.0.1:8080") as relay:
        ...     sent = relay.messages.send(Message(from_="me@example.com", to="you@example.org", text="Hello."))

    Each method raises ApiProblem where the relay refuses, and NoAnswer where there is none.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        tries: int = 5,
        verify: Any = True,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises ValueError: `url` is none."""
        self._base, socket = place_of(url)
        if transport is None and socket is not None:
            transport = httpx.HTTPTransport(uds=socket)
        self._http = httpx.Client(headers=headers_of(key), verify=verify, transport=transport, trust_env=False)
        self._timeout = timeout
        self._habits = Habits(tries, random.random, time.time)
        self._sleep = sleep
        super().__init__(self)

    def close(self) -> None:
        """Ends its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the edge

    def ask(self, ask: Ask[T], /) -> T:
        """Puts a question of one's own."""
        talking = talk(ask, self._habits)
        said: Reply | Lost | None = None
        try:
            while True:
                step = talking.send(said)
                if isinstance(step, Pause):
                    self._sleep(step.seconds)
                    said = None
                else:
                    said = self._try(step)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def walk(self, listing: Listing[T], /) -> Iterator[T]:
        ask: Ask[Any] | None = listing.first
        while ask is not None:
            told = self.ask(ask)
            yield from listing.items(told)
            ask = listing.further(ask, told)

    def take(self, ask: Ask[bytes], /) -> Iterator[bytes]:
        try:
            with self._opened(ask, self._timeout) as response:
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise NoAnswer(lost(error, self._base).why) from None

    def follow(self, stream: Stream[T], /) -> Iterator[T]:
        following = Following(stream, self._habits)
        while True:
            why = f"{self._base} ends the stream"
            try:
                with self._opened(following.ask(), SILENCE) as response:
                    for data in response.iter_bytes():
                        yield from following.heard(data)
            except ApiProblem as refusal:
                why = following.refused(refusal)
            except httpx.HTTPError as error:
                why = lost(error, self._base).why
            self._sleep(following.pause(why))

    def _try(self, step: Try) -> Reply | Lost:
        ask = step.ask
        content = ask.body if isinstance(ask.body, bytes | None) else iter(ask.body)
        try:
            with self._http.stream(**request_of(ask, self._base, self._timeout, content)) as response:
                return reply_of(response, self._read(response))
        except httpx.HTTPError as error:
            return lost(error, self._base)

    def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for data in response.iter_bytes():
            body += data
            if len(body) > LONGEST:
                raise NoAnswer(f"{self._base} answers with more than {LONGEST} bytes")
        return bytes(body)

    @contextmanager
    def _opened(self, ask: Ask[Any], timeout: float) -> Iterator[httpx.Response]:
        """An answer that is read as it comes. Raises ApiProblem, httpx.HTTPError."""
        with self._http.stream(**request_of(ask, self._base, timeout, None)) as response:
            if response.status_code >= 300:
                reply = reply_of(response, self._read(response))
                raise problem(reply, retry_after(reply, self._habits.now()))
            yield response
