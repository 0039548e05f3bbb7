"""A server that takes every message and keeps none, however large; for machines without smtp-sink.

    python -m bench.sink --port 2626 [--host 0.0.0.0] [--silent 127.3.] [--slow 127.4.]
        [--delay 0] [--certificate PEM --key PEM]

It writes `mesg=N byte=N rcpt=N` and a CR to stdout as they change. Connections to a local address that
begins with --silent are taken and never answered: as many hanging hosts as there are addresses. Those to one that
begins with --slow get each reply three seconds late, and what they bring isn't counted; all others --delay seconds
late. With a certificate it offers
STARTTLS.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys

#: How late a slow host replies (seconds).
LATE = 3.0


class Counts:
    def __init__(self) -> None:
        self.messages = self.bytes = self.recipients = self.connections = 0

    def line(self) -> str:
        return f"mesg={self.messages} byte={self.bytes} rcpt={self.recipients}"


class Sink(asyncio.Protocol):
    """Enough of SMTP for a well-behaved client: verbs by their first letters, the dot found in C."""

    def __init__(self, counts: Counts, silent: str, slow: str, tls: ssl.SSLContext | None, delay: float) -> None:
        self.counts, self.silent, self.slow, self.tls, self.delay = counts, silent, slow, tls, delay
        self.buffer = b""
        self.in_data = self.mute = self.securing = False
        self.offer = b"250-STARTTLS\r\n" if tls is not None else b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.counts.connections += 1
        address = transport.get_extra_info("sockname")[0]
        self.mute = bool(self.silent) and address.startswith(self.silent)
        if self.slow and address.startswith(self.slow):
            self.counts, self.delay = Counts(), LATE
        if not self.mute:
            self.reply(b"220 sink.test ESMTP\r\n")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The handshake; nothing that came before it counts. What comes with its end is read when that is known."""
        self.buffer, self.offer, self.securing = b"", b"", True
        loop = asyncio.get_running_loop()
        made = await loop.start_tls(self.transport, self, context, server_side=True)
        assert made is not None
        self.transport, self.securing = made, False
        self.data_received(b"")

    def reply(self, data: bytes) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, data)
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.mute:
            return
        data = self.buffer + data
        if self.securing:
            self.buffer = data
            return
        replies = []
        while True:
            if self.in_data:
                end = data.find(b"\r\n.\r\n")
                if end < 0:  # keep what may be the beginning of the end
                    self.counts.bytes += max(0, len(data) - 4)
                    data = data[-4:]
                    break
                self.counts.bytes += end
                self.counts.messages += 1
                self.in_data = False
                data = data[end + 5 :]
                replies.append(b"250 2.0.0 taken\r\n")
                continue
            end = data.find(b"\n")
            if end < 0:
                break
            verb, data = data[:4].upper(), data[end + 1 :]
            if verb == b"RCPT":
                self.counts.recipients += 1
            elif verb == b"DATA":
                self.in_data, data = True, b"\r\n" + data  # an empty body's dot is found too
            elif verb == b"STAR" and self.tls is not None:
                self.transport.write(b"220 2.0.0 go\r\n")
                self.securing = True
                self.starting = asyncio.ensure_future(self.start_tls(self.tls))
                return
            elif verb == b"QUIT":
                replies.append(b"221 2.0.0 bye\r\n")
                self.transport.write(b"".join(replies))
                self.transport.close()
                return
            replies.append(
                b"354 go\r\n"
                if verb == b"DATA"
                else b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n%s250 SIZE 0\r\n" % self.offer
                if verb == b"EHLO"
                else b"250 2.0.0 ok\r\n"
            )
        self.buffer = data
        if replies:
            self.reply(b"".join(replies))


async def serve(
    host: str, port: int, silent: str, slow: str, tls: ssl.SSLContext | None, delay: float
) -> None:
    counts, shown = Counts(), ""
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Sink(counts, silent, slow, tls, delay), host, port, backlog=4096)
    while True:
        await asyncio.sleep(0.02)
        if counts.line() != shown:
            shown = counts.line()
            sys.stdout.write(shown + "\r")
            sys.stdout.flush()


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--silent", default="")
    p.add_argument("--slow", default="")
    p.add_argument("--delay", type=float, default=0.0)
    p.add_argument("--certificate")
    p.add_argument("--key")
    a = p.parse_args()
    context = None
    if a.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(a.certificate, a.key)
    asyncio.run(serve(a.host, a.port, a.silent, a.slow, context, a.delay))
