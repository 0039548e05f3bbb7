"""How fast the API takes mail, beside SMTP: the same relay, the same messages, nothing of it leaves.

    python -m bench.api [-n 3000] [--rounds 7] [--size 1024] [--connections 20] [--batch 100] [--set KEY=VALUE]

In turn: SMTP, `POST /v1/messages` with one message, and with a batch of them, each over kept connections. The client is
one process that waits on raw sockets, the same for all three; a connection has one request, or one step of SMTP, under
way. All mail is on hold, so that only taking it counts. The queue is synced. Prints one JSON line with the medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from bench import machine
from bench.network import own_network
from bench.rig import Run
from bench.source import LINE, text

SENDER, RECIPIENT = "sender@src.test", "rcpt@remote.test"
#: What is wanted: rates as multiples of SMTP's.
WANTED = {"single": 0.5, "batch": 2.0}


class Exchange(NamedTuple):
    """What is said, how an answer begins that is good, and whether it is complete."""

    said: bytes
    good: bytes
    complete: Callable[[bytes], bool]


class Conversation(NamedTuple):
    """A way to hand mail over: where, what comes first on each connection, and what is said again and again, by which
    so many messages are taken."""

    port: int
    begin: Sequence[Exchange]
    again: Sequence[Exchange]
    messages: int


def smtp(port: int, size: int) -> Conversation:
    """MAIL, RCPT, DATA and the text, one after the other."""

    def complete(said: bytes) -> bool:
        return said.endswith(b"\r\n") and said[said.rfind(b"\n", 0, -1) + 1 :][3:4] != b"-"

    mail = b"".join(text(size, SENDER, RECIPIENT)) + b".\r\n"
    return Conversation(
        port,
        [Exchange(b"", b"220", complete), Exchange(b"EHLO source.test\r\n", b"250", complete)],
        [
            Exchange(f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250", complete),
            Exchange(f"RCPT TO:<{RECIPIENT}>\r\n".encode(), b"250", complete),
            Exchange(b"DATA\r\n", b"354", complete),
            Exchange(mail, b"250", complete),
        ],
        1,
    )


def http(port: int, size: int, batch: int) -> Conversation:
    """`POST /v1/messages` with one message (`batch` 0) or so many."""

    def complete(said: bytes) -> bool:
        head, end, body = said.partition(b"\r\n\r\n")
        if not end:
            return False
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return len(body) >= int(length)

    line = LINE.decode().replace("\r\n", "\n")
    mail = {"from": SENDER, "to": RECIPIENT, "subject": "bench", "text": line * max(1, size // len(LINE) - 2)}
    body = json.dumps({"messages": [mail] * batch} if batch else mail).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    said = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return Conversation(port, [], [Exchange(said, b"HTTP/1.1 202", complete)], batch or 1)


class Line:
    """One connection, and where in its conversation it is."""

    def __init__(self, conversation: Conversation) -> None:
        self.socket = socket.create_connection(("127.0.0.1", conversation.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._again = conversation.again
        self._at = -1
        for exchange in conversation.begin:
            self._say(exchange)
            while not self.hear():
                pass

    def _say(self, exchange: Exchange) -> None:
        self._exchange, self._heard = exchange, b""
        self.socket.sendall(exchange.said)

    def hear(self) -> bool:
        """Take what has come; whether the answer is complete now. Raises RuntimeError: it isn't a good one."""
        data = self.socket.recv(65536)
        self._heard += data
        if not data or not self._heard.startswith(self._exchange.good[: len(self._heard)]):
            raise RuntimeError(f"{self._heard[:300]!r}")
        return self._exchange.complete(self._heard)

    def go_on(self) -> bool:
        """Say what comes next; whether that begins a round anew."""
        self._at = (self._at + 1) % len(self._again)
        self._say(self._again[self._at])
        return self._at == 0


def take(conversation: Conversation, connections: int, count: int, told: Connection) -> None:
    """Hand over `count` messages; `told` gets the seconds it took."""
    lines = [Line(conversation) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    left = -(-count // conversation.messages)
    rounds = left
    begun = time.monotonic()
    for line in lines:
        line.go_on()
    while left > 0:
        for key, _ in selector.select():
            line = key.data
            if line.hear() and line.go_on():
                left -= 1
    told.send((time.monotonic() - begun) / (rounds * conversation.messages))


def rate(conversation: Conversation, connections: int, count: int) -> float:
    """Messages per second."""
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.Process(target=take, args=(conversation, connections, count, theirs))
    client.start()
    theirs.close()
    try:
        return 1 / float(ours.recv())
    except EOFError:
        raise RuntimeError("the client failed") from None
    finally:
        client.join()


def hold_all(port: int) -> None:
    """Nothing leaves from now on."""
    body = json.dumps({"everything": True, "reason": "only taking is measured"}).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/v1/holds", body, {"Content-Type": "application/json"})) as answer:
        assert answer.status == 201


def measure(run: Run, a: argparse.Namespace) -> dict[str, Any]:
    """Rates of each way, in turn: medians, the medians of each round's ratios, and all of them."""
    assert run.tree is not None
    hold_all(run.place.api)
    ways = {
        "smtp": smtp(run.place.port, a.size),
        "single": http(run.place.api, a.size, 0),
        "batch": http(run.place.api, a.size, a.batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    score = machine.cpu_score()
    for number in range(a.rounds):
        for name in ways if number % 2 == 0 else reversed(ways):
            before = sum(run.tree.cpu())
            rates[name].append(round(rate(ways[name], a.connections, a.n), 1))
            cpu[name].append(round((sum(run.tree.cpu()) - before) / a.n * 1000, 3))
    medians = {name: median(found) for name, found in rates.items()}
    # Of what was measured side by side: the machine may be another one a minute later.
    ratios = {
        name: round(median(ours / smtp for ours, smtp in zip(rates[name], rates["smtp"], strict=True)), 2)
        for name in WANTED
    }
    return {
        "own_network": own_network(),
        "cpu_score": score,
        "per_second": medians,
        "to_smtp": ratios,
        "cpu_s_per_1000": {name: median(found) for name, found in cpu.items()},
        "rounds": rates,
        "ok": all(ratios[name] >= wanted for name, wanted in WANTED.items()),
    }


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=3000, help="messages of each way and round")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--size", type=int, default=1024)
    p.add_argument("--connections", type=int, default=20)
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    a = p.parse_args()
    run = Run("zonerelay", dict(item.split("=", 1) for item in a.set), sink=False)
    try:
        run.start()
        result = measure(run, a)
    finally:
        run.close()
    print(json.dumps(result), flush=True)
    return int(not result["ok"])


if __name__ == "__main__":
    sys.exit(main())
