"""A next hop by aiosmtpd, in a thread: an independent server that keeps each message as it came."""

from __future__ import annotations

import asyncio
import threading
from typing import NamedTuple

from aiosmtpd.smtp import SMTP, Envelope, Session


class Taken(NamedTuple):
    """One transaction: envelope, parameters of MAIL, and the text without its stuffed dots."""

    sender: str
    recipients: list[str]
    options: list[str]
    text: bytes
    hello: str


class Collector:
    """Listens on a free port of 127.0.0.1 from `start` to `stop`. `taken` grows in order of arrival.

    `replies` are the answers to RCPT for recipients that are not to be taken; it may change at any time.
    """

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.replies: dict[str, str] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        listening = self._loop.create_server(
            lambda: SMTP(self, hostname="mx.test", loop=self._loop, data_size_limit=1 << 30, enable_SMTPUTF8=True),
            "127.0.0.1",
            0,
        )
        server = self._loop.run_until_complete(listening)
        self.port = server.sockets[0].getsockname()[1]
        self._thread.start()

    def stop(self) -> None:
        """Drops all connections; the thread is gone afterwards."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _leave(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- called by aiosmtpd

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.taken.append(
            Taken(
                envelope.mail_from or "",
                list(envelope.rcpt_tos),
                list(envelope.mail_options),
                envelope.content,
                session.host_name or "",
            )
        )
        return "250 2.0.0 kept"
