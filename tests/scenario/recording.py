"""An MX that is polite and takes the time: when each connection came and went, when each MAIL was said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


class Recorder:
    """Listens on loopback addresses, in a thread of its own."""

    def __init__(
        self, port: int, answer: Callable[[str, str], str] = lambda peer, rcpt: "", pause: float = 0.0
    ) -> None:
        """`answer(client's address, recipient)` is a refusal to RCPT, "" to take it; `pause` before each
        answer to the dot (seconds)."""
        self.port = port
        self.answer = answer
        self.pause = pause
        #: When each MAIL came (seconds), from which address; who was taken, when and from where.
        self.mails: list[tuple[float, str]] = []
        self.taken: list[tuple[float, str, str]] = []
        self.open = self.most_open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def most_within(self, unit: float) -> int:
        """The most MAILs in any span of a unit."""
        times = [when for when, _ in list(self.mails)]
        most = first = 0
        for last, when in enumerate(times):
            while times[first] <= when - unit:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = self._loop.run_until_complete(listening)
        self._ready.set()
        self._loop.run_forever()
        talks = asyncio.all_tasks(self._loop)
        for talk in talks:
            talk.cancel()
        self._loop.run_until_complete(asyncio.gather(*talks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._talk(reader, writer, writer.get_extra_info("peername")[0])
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        writer.write(b"220 mx.test ESMTP\r\n")
        rcpt = ""
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"EHLO":
                writer.write(b"250-mx.test\r\n250 PIPELINING\r\n")
            elif word == b"MAIL":
                self.mails.append((time.monotonic(), peer))
                rcpt = ""
                writer.write(b"250 2.1.0 ok\r\n")
            elif word == b"RCPT":
                name = line.decode().partition("<")[2].partition(">")[0]
                refusal = self.answer(peer, name)
                rcpt = "" if refusal else name
                writer.write((refusal or "250 2.1.5 ok").encode() + b"\r\n")
            elif word == b"DATA":
                if not rcpt:
                    writer.write(b"503 5.5.1 no recipient\r\n")
                    continue
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                if self.pause:
                    await asyncio.sleep(self.pause)
                self.taken.append((time.monotonic(), rcpt, peer))
                writer.write(b"250 2.0.0 taken\r\n")
            elif word == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")
