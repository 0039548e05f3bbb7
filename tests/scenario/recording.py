"""An MX that is polite and takes the time: when each connection came and went, when each MAIL was said.

Its clock is the one by which limits are judged: what the host at the other end sees.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence


class Recorder:
    """Listens on loopback addresses, in a thread of its own."""

    def __init__(
        self,
        port: int,
        answer: Callable[[str, str], str] = lambda peer, rcpt: "",
        pause: float = 0.0,
        host: str = "127.0.0.1",
        mute: bool = False,
        parting: float = 0.0,
        refuses: bool = False,
    ) -> None:
        """`answer(client's address, recipient)` is a refusal to RCPT, "" to take it; `pause` before each
        answer to the dot (seconds); `mute`: connections are taken and nothing is said, until it is unset;
        `parting` before the answer to QUIT (seconds); `refuses`: it says from the first that it takes no mail."""
        self.port = port
        self.answer = answer
        self.pause = pause
        self.host = host
        self.mute = mute
        self.parting = parting
        self.refuses = refuses
        #: When each MAIL came (seconds), from which address; who was taken, when and from where.
        self.mails: list[tuple[float, str]] = []
        self.taken: list[tuple[float, str, str]] = []
        #: When each RCPT came, and for whom; each connection that came (1) or went (-1), and from where.
        self.asked: list[tuple[float, str]] = []
        self.changes: list[tuple[float, str, int]] = []
        #: When the MAIL of each text came, and how many bytes the text had.
        self.sizes: list[tuple[float, int]] = []
        self.open = self.most_open = 0
        #: Between MAIL and the answer to the dot.
        self.busy = self.most_busy = 0
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

    def most_within(self, unit: float) -> float:
        """The most MAILs in any span of a unit."""
        return most([(when, 1) for when, _ in list(self.mails)], unit)

    def above(self, limit: int) -> tuple[int, float]:
        """How often more connections than that were open at once, and for how long in all (seconds)."""
        times, total, since, open_now = 0, 0.0, 0.0, 0
        for when, _, change in list(self.changes):
            if open_now > limit:
                total += when - since
            times += change > 0 and open_now == limit
            open_now += change
            since = when
        return times, total

    def connections(self) -> list[float]:
        """When each came."""
        return [when for when, _, change in list(self.changes) if change > 0]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_server(self._serve, self.host, self.port)
        self._server = self._loop.run_until_complete(listening)
        self._ready.set()
        self._loop.run_forever()
        talks = asyncio.all_tasks(self._loop)
        for talk in talks:
            talk.cancel()
        self._loop.run_until_complete(asyncio.gather(*talks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.changes.append((time.monotonic(), peer, 1))
        try:
            if self.mute:
                await reader.read()
            else:
                await self._talk(reader, writer, peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self.changes.append((time.monotonic(), peer, -1))
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        writer.write(b"554 5.3.2 not here\r\n" if self.refuses else b"220 mx.test ESMTP\r\n")
        rcpt, begun = "", 0.0
        try:
            while line := await reader.readline():
                word = line[:4].upper()
                if word == b"EHLO":
                    writer.write(b"250-mx.test\r\n250 PIPELINING\r\n")
                elif word == b"MAIL":
                    self._at_work(1 if not begun else 0)
                    begun = time.monotonic()
                    self.mails.append((begun, peer))
                    rcpt = ""
                    writer.write(b"250 2.1.0 ok\r\n")
                elif word == b"RCPT":
                    name = line.decode().partition("<")[2].partition(">")[0]
                    self.asked.append((time.monotonic(), name))
                    refusal = self.answer(peer, name)
                    rcpt = "" if refusal else name
                    writer.write((refusal or "250 2.1.5 ok").encode() + b"\r\n")
                elif word == b"DATA":
                    if not rcpt:
                        writer.write(b"503 5.5.1 no recipient\r\n")
                        continue
                    writer.write(b"354 go on\r\n")
                    text = await reader.readuntil(b"\r\n.\r\n")
                    self.sizes.append((begun, len(text) - 3))
                    if self.pause:
                        await asyncio.sleep(self.pause)
                    self.taken.append((time.monotonic(), rcpt, peer))
                    self._at_work(-1)
                    begun = 0.0
                    writer.write(b"250 2.0.0 taken\r\n")
                elif word == b"QUIT":
                    if self.parting:
                        await asyncio.sleep(self.parting)
                    writer.write(b"221 2.0.0 bye\r\n")
                    await writer.drain()
                    return
                else:
                    if word == b"RSET" and begun:
                        self._at_work(-1)
                        begun = 0.0
                    writer.write(b"250 2.0.0 ok\r\n")
        finally:
            if begun:
                self._at_work(-1)

    def _at_work(self, change: int) -> None:
        self.busy += change
        self.most_busy = max(self.most_busy, self.busy)


def most(series: Sequence[tuple[float, float]], unit: float) -> float:
    """The most that any span of a unit (seconds) saw of what came when."""
    found = total = 0.0
    first = 0
    series = sorted(series)
    for when, amount in series:
        total += amount
        while series[first][0] <= when - unit:
            total -= series[first][1]
            first += 1
        found = max(found, total)
    return found
