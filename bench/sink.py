"""A server that takes every message and keeps none, however large; for machines without smtp-sink.

    python -m bench.sink --port 2626 [--host 0.0.0.0] [--silent 127.3.] [--slow 127.4.]
        [--delay 0] [--certificate PEM --key PEM]

It writes `mesg=N byte=N rcpt=N` and a CR to stdout as they change. Connections to a local address that
begins with --silent are taken and never answered: as many hanging hosts as there are addresses. Those to one that
begins with --slow get each reply three seconds late, and what they bring isn't counted; all others --delay seconds
late. With a certificate it offers STARTTLS. It stands on epoll itself, for what the sink takes of the machine the relay
doesn't get: asyncio took twice as much over TLS.
"""

from __future__ import annotations

import argparse
import select
import socket
import ssl
import sys
import time
from heapq import heappop, heappush

#: How late a slow host replies (seconds).
LATE = 3.0
#: How often counts are written (seconds).
TOLD = 0.02
_MOST = 256 * 1024
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Counts:
    def __init__(self) -> None:
        self.messages = self.bytes = self.recipients = 0

    def line(self) -> str:
        return f"mesg={self.messages} byte={self.bytes} rcpt={self.recipients}"


class Sink:
    """Enough of SMTP for a well-behaved client: verbs by their first letters, the dot found in C."""

    def __init__(self, server: Server, link: socket.socket) -> None:
        self.server, self.link = server, link
        self.counts = server.counts
        self.buffer = self.unsent = b""
        self.in_data = self.securing = self.leaving = False
        self.offer = b"250-STARTTLS\r\n" if server.tls is not None else b""
        address = link.getsockname()[0]
        self.mute = bool(server.silent) and address.startswith(server.silent)
        self.delay = server.delay
        if server.slow and address.startswith(server.slow):
            self.counts, self.delay = Counts(), LATE
        if not self.mute:
            self.reply(b"220 sink.test ESMTP\r\n")

    def ready(self) -> bool:
        """There is something to read or room to write; whether the connection lives on."""
        try:
            if self.securing:
                assert isinstance(self.link, ssl.SSLSocket)
                self.link.do_handshake()
                self.securing = False
            if self.unsent:
                self.send(b"")
            while (data := self.link.recv(_MOST)) and not self.leaving:
                if not self.mute:
                    self.received(data)
                if not isinstance(self.link, ssl.SSLSocket) or not self.link.pending():
                    return not self.leaving
        except _NOT_NOW:
            return True
        except OSError:
            pass
        return False

    def reply(self, data: bytes) -> None:
        if self.delay:
            self.server.put_off(self.delay, self, data)
        else:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Raises OSError. What isn't taken now goes when there is room."""
        data = self.unsent + data
        try:
            sent = self.link.send(data)
        except _NOT_NOW:
            sent = 0
        waited, self.unsent = bool(self.unsent), data[sent:]
        if waited != bool(self.unsent):
            self.server.watch(self)

    def received(self, data: bytes) -> None:
        data = self.buffer + data
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
            elif verb == b"STAR" and self.offer:
                self.secure()
                return
            elif verb == b"QUIT":
                replies.append(b"221 2.0.0 bye\r\n")
                self.leaving = True
                break
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

    def secure(self) -> None:
        """STARTTLS was said: the next read is the handshake's. Nothing that came before it counts."""
        tls = self.server.tls
        assert tls is not None
        self.send(b"220 2.0.0 go\r\n")
        self.buffer, self.offer, self.securing = b"", b"", True
        self.link = tls.wrap_socket(self.link, server_side=True, do_handshake_on_connect=False)


class Server:
    """All connections, on one epoll."""

    def __init__(
        self, listener: socket.socket, silent: str, slow: str, tls: ssl.SSLContext | None, delay: float
    ) -> None:
        self.listener, self.silent, self.slow, self.tls, self.delay = listener, silent, slow, tls, delay
        self.counts = Counts()
        self.later: list[tuple[float, int, Sink, bytes]] = []
        self.order = 0
        self.sinks: dict[int, Sink] = {}
        self.poller = select.epoll()
        self.poller.register(listener, select.EPOLLIN)

    def watch(self, sink: Sink) -> None:
        number = sink.link.fileno()
        if number in self.sinks:
            self.poller.modify(number, select.EPOLLIN | (select.EPOLLOUT if sink.unsent else 0))

    def run(self) -> None:
        shown, tell_at = "", 0.0
        listening = self.listener.fileno()
        while True:
            for number, _ in self.poller.poll(TOLD):
                if number == listening:
                    self.accept()
                elif (sink := self.sinks.get(number)) is not None and not sink.ready():
                    self.forget(sink)
            now = time.monotonic()
            while self.later and self.later[0][0] <= now:
                self.say(*heappop(self.later)[2:])
            if now >= tell_at:
                tell_at = now + TOLD
                if self.counts.line() != shown:
                    shown = self.counts.line()
                    sys.stdout.write(shown + "\r")
                    sys.stdout.flush()

    def accept(self) -> None:
        try:
            while True:
                link, _ = self.listener.accept()
                link.setblocking(False)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                number = link.fileno()
                self.poller.register(number, select.EPOLLIN)
                self.sinks[number] = Sink(self, link)
        except OSError:
            return  # No more of them, or one that is gone.

    def put_off(self, seconds: float, sink: Sink, data: bytes) -> None:
        self.order += 1
        heappush(self.later, (time.monotonic() + seconds, self.order, sink, data))

    def say(self, sink: Sink, data: bytes) -> None:
        if sink.link.fileno() >= 0:
            try:
                sink.send(data)
            except OSError:
                self.forget(sink)

    def forget(self, sink: Sink) -> None:
        del self.sinks[sink.link.fileno()]
        sink.link.close()


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
    listener = socket.create_server((a.host, a.port), backlog=4096)
    listener.setblocking(False)
    Server(listener, a.silent, a.slow, context, a.delay).run()
