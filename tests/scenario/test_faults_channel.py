"""Strangers on the data channel (rows N01, N02, N04-N06): they get nothing, hold up nobody, cost little.

What a peer with the right secret may not do (N03, N25) is tested where the secret is known: in
tests/unit. Here are those who only found the port.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from twisted.internet.defer import gatherResults

from bench.proctree import rss
from tests.scenario.harness import Relay, Scenario, deferToThread

#: A stranger who says nothing sensible is cut off within this (seconds).
DEADLINE = 15.0
GIB = 1 << 30


class Met(NamedTuple):
    """What a stranger got: bytes received, whether it was cut off, and after how long."""

    received: bytes
    cut: bool
    seconds: float


def intrude(port: int, words: bytes, patience: float = DEADLINE, close: bool = False) -> Met:
    """Connect, say this, listen until cut off or out of patience."""
    begun, received, cut = time.monotonic(), b"", False
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.settimeout(patience)
        try:
            s.sendall(words)
            if close:
                s.shutdown(socket.SHUT_WR)
            while data := s.recv(65536):
                received += data
            cut = True
        except TimeoutError:
            pass
        except OSError:  # reset: cut off as well
            cut = True
    return Met(received, cut, time.monotonic() - begun)


def big_endian(value: object) -> bytes:
    payload = msgspec.msgpack.encode(value)
    return struct.pack(">I", len(payload)) + payload


def little_endian(value: object) -> bytes:
    payload = json.dumps(value).encode()
    return struct.pack("<I", len(payload)) + payload


def json_line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def netstring(value: object) -> bytes:
    payload = json.dumps(value).encode()
    return b"%d:%b," % (len(payload), payload)


def over_http(value: object) -> bytes:
    payload = json.dumps(value).encode()
    return b"POST / HTTP/1.1\r\nHost: relay\r\nContent-Length: %d\r\n\r\n%b" % (len(payload), payload)


FRAMINGS: tuple[Callable[[object], bytes], ...] = (big_endian, little_endian, json_line, netstring, over_http)

#: Eleven things a fake child could try: greet without, with an empty, with a guessed secret, with
#: the wrong version, with fields missing; skip the greeting and ask, report, close, claim, beat, order.
MESSAGES: tuple[object, ...] = (
    [1, 1, "", "default-1", "default", 1],
    [1, 1, "0" * 64, "default-1", "default", 1],
    [1, 999, "secret", "default-1", "default", 1],
    [1],
    {"cmd": "HELLO", "params": {"zone": "default", "id": "default-1"}},
    [7, 1, 0],
    [5, 1, 1, ["delivered", "250 ok"], True],
    [2, 1, "mx.test", "127.0.0.1"],
    [6, 1],
    [8, 1],
    [22, 1],
)


class Strangers(Scenario):
    async def ready(self) -> Relay:
        relay = self.relay()
        await self.up(relay)
        load = await self.send(relay, 1)
        await self.arrival(load, 15, relay)
        return relay

    async def still_serves(self, relay: Relay, master: int) -> None:
        """The same master still delivers, within 5 s."""
        self.assertTrue(relay.alive, relay.said()[-1500:])
        self.assertEqual(relay.master(), master)
        load = await self.send(relay, 1)
        await self.arrival(load, 5, relay)

    async def test_N01_fake_children_get_no_data(self) -> None:
        """N01: eleven messages in five framings, while mail waits: no byte, cut off, all mail arrives."""
        relay = await self.ready()
        master = relay.master()
        waiting = await self.send(relay, 5, "greylist-3+{id}@evil.test")
        for framing in FRAMINGS:
            for message in MESSAGES:
                met = await deferToThread(intrude, relay.channel, framing(message))
                self.assertEqual(met.received, b"", f"{framing.__name__} {message!r}")
                self.assertTrue(met.cut, f"{framing.__name__} {message!r} was not cut off")
        self.assert_safe(await self.drained(relay, waiting), relay)
        await self.still_serves(relay, master)

    async def test_N02_only_the_configured_address_listens(self) -> None:
        """N02: the channel's socket is bound to its own address, not to all."""
        relay = await self.ready()
        bound = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if os.path.exists(table):
                with open(table) as file:
                    for line in list(file)[1:]:
                        local, state = line.split()[1], line.split()[3]
                        if state == "0A" and int(local.rpartition(":")[2], 16) == relay.channel:
                            bound.add(local.rpartition(":")[0])
        self.assertEqual(bound, {"0100007F"})
        with socket.socket() as s:
            s.settimeout(2)
            self.assertNotEqual(s.connect_ex(("127.0.0.2", relay.channel)), 0)

    async def test_N04_lengths_that_cannot_be(self) -> None:
        """N04: huge, drip-fed, zero and endless frames are cut at the limit and memory stays."""
        relay = await self.ready()
        master = relay.master()
        before = rss(master)
        attacks = {
            "length-4GiB": struct.pack(">I", 0xFFFFFFFF) + b"x" * 100_000,
            "length-2GiB": struct.pack(">I", 2 * GIB) + b"x" * 100_000,
            "64MiB": struct.pack(">I", 64 << 20) + b"x" * (8 << 20),
            "zero": struct.pack(">I", 0) * 10,
            "netstring-huge": b"9" * 20 + b":" + b"x" * 100_000,
            "line-8MiB": b"x" * (8 << 20),
        }
        for name, words in attacks.items():
            met = await deferToThread(intrude, relay.channel, words)
            self.assertEqual((met.received, met.cut), (b"", True), name)
        self.assertLess(rss(master) - before, 32 << 20)
        await self.still_serves(relay, master)

    async def test_N05_half_words_and_silence(self) -> None:
        """N05: half a length, half a frame, silence: cut by a deadline."""
        relay = await self.ready()
        master = relay.master()
        attacks = {
            "half-header": b"\0\0",
            "half-frame": struct.pack(">I", 500) + b"\x96\x01",
            "silence": b"",
        }
        # All at once, since each has to be waited for.
        came = await gatherResults([deferToThread(intrude, relay.channel, words) for words in attacks.values()])
        for name, met in zip(attacks, came, strict=True):
            self.assertEqual((met.received, met.cut), (b"", True), name)
        await self.still_serves(relay, master)

    async def test_N05_flood_of_500(self) -> None:
        """N05: 500 silent connections at once: children are served, and so is a child that is new."""
        relay = await self.ready()
        master = relay.master()
        flood = []
        self.addCleanup(lambda: [s.close() for s in flood])
        for _ in range(500):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", relay.channel))
            flood.append(s)
        await self.still_serves(relay, master)
        for child in relay.children():
            os.kill(child, 9)
        load = await self.send(relay, 1)
        await self.arrival(load, 30, relay)

    async def test_N06_bytes_meant_for_other_parsers(self) -> None:
        """N06: nesting without end, NaN, surrogates, pickle: cut off, nothing executed."""
        relay = await self.ready()
        master = relay.master()
        trap = f"{self.directory}/executed"

        class Trap:
            def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
                return os.system, (f"touch {trap}",)

        def framed(payload: bytes) -> bytes:
            return struct.pack(">I", len(payload)) + payload

        attacks = {
            "deep-array": framed(b"\x91" * 60_000 + b"\x01"),
            "deep-map": framed(b"\x81\xa1a" * 20_000 + b"\x01"),
            "json-deep": b"[" * 100_000,
            "nan": framed(b"\x96\x01\xcb\x7f\xf8\0\0\0\0\0\0"),
            "surrogate": framed(b"\x96\x01\x01\xa3\xed\xa0\x80"),
            "pickle": framed(pickle.dumps(Trap())),
            "raw pickle": pickle.dumps(Trap()),
            "array-of-4G": framed(b"\xdd\xff\xff\xff\xff"),
            "bin-4G": framed(b"\xc6\xff\xff\xff\xff"),
        }
        for name, words in attacks.items():
            met = await deferToThread(intrude, relay.channel, words)
            self.assertEqual((met.received, met.cut), (b"", True), name)
        self.assertFalse(os.path.exists(trap))
        await self.still_serves(relay, master)
