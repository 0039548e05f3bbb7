"""Hostile requests: framing that may mean two things, too much of everything, slowness, and ends in the midst.

Rows H13-H18, H24 and H25, against the sockets of a real relay.
"""

from __future__ import annotations

import gzip
import json
import socket
import time

from bench.proctree import rss
from tests.peers.asker import Asker, request
from tests.scenario.asking import MAIL, MIB, Asking
from tests.scenario.hostile import SERVED

#: What would stand behind a request for a reader who takes it to end elsewhere: a mail of somebody else.
HIDDEN = request("POST", "/send-raw?from=a@src.test&to=ok%2Bhidden@evil.test", MAIL)
SEND = "/send-raw?from=a@src.test&to=ok%2Bhidden@evil.test"
#: No process grows by more than this over what is to be refused (bytes).
GROWTH = 32 * MIB


class Framing(Asking):
    """Where a request ends, there is one answer at most."""

    settings = {"http": 'max_size = "8MB"\ntimeout = "20s"'}

    def refused(self, *heads: bytes, body: bytes = b"") -> None:  # type: ignore[override]
        """Each of these headers, with this body and a hidden request behind: one 400, and the end."""
        for head in heads:
            start = b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % SEND.encode()
            said = self.once(start + head + b"\r\n\r\n" + body + HIDDEN)
            self.assertEqual(400, said.status, head)

    def test_H14_lengths_that_are_none(self) -> None:
        """Two of them, signs, lists, words: refused, and what comes behind isn't read."""
        self.refused(
            b"Content-Length: 3\r\nContent-Length: 4",
            b"Content-Length: 3\r\nContent-Length: 3",
            b"Content-Length: +3",
            b"Content-Length: -3",
            b"Content-Length: 3,3",
            b"Content-Length: 1_0",
            b"Content-Length: 0x3",
            b"Content-Length: 3 3",
            b"Content-Length: three",
            b"Content-Length: ",
            b"Content-Length : 3",
            "Content-Length: ٣".encode(),
        )

    def test_H14_two_framings(self) -> None:
        self.refused(
            b"Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: gzip, chunked",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding:",
            b"Content-Length: 3\r\nTransfer-Encoding:\r\n chunked",
            body=b"0\r\n\r\n",
        )

    def test_H14_fields_hidden_by_bare_line_ends(self) -> None:
        self.refused(
            b"X: a\nContent-Length: 3",
            b"X: a\rContent-Length: 3",
            b"X: a\n\nContent-Length: 3",
            b"X: a\0\r\nContent-Length: 3",
            b"Content-Length: 3\nX: a",
            b"\nContent-Length: 3",
            b"X: a\r\nX\r: b",
        )

    def test_H14_chunks_that_are_none(self) -> None:
        for body in (
            b"-1\r\n",
            b"+5\r\nabcde\r\n",
            b"0x5\r\nabcde\r\n",
            b"5 \r\nabcde\r\n",
            b" 5\r\nabcde\r\n",
            b"1_0\r\nabcde\r\n",
            b"\r\n",
            b"five\r\n",
            b"5\nabcde\n",
            b"5;\n\r\nabcde\r\n",
            b"5;a\0\r\nabcde\r\n",
            b"5\r\nabcdefgh\r\n",
            b"5\r\nabcde0\r\n",
            b"f" * 5000 + b"\r\n",
            b"5;" + b"x" * 5000 + b"\r\n",
            b"0\r\n" + b"X: y\r\n" * 20_000,
        ):
            self.refused(b"Transfer-Encoding: chunked", body=body)

    def test_H14_chunks(self) -> None:
        """What is framed as it should be is taken, with extensions and trailers, and the next request is one."""
        body = b"1a;x=y\r\n" + b"From: <a@src.test>\r\n\r\nx\r\n\r\n\r\n"[:26] + b"\r\n0\r\nX: y\r\n\r\n"
        target = "/send-raw?from=a@src.test&to=ok%2Bchunks@evil.test"
        head = request("POST", target, None, "Transfer-Encoding: chunked")
        with self.ask() as asker:
            self.assertEqual(200, asker.say(head + body).status)
            self.assertEqual(200, asker.say(request("GET", "/zones")).status)
        self.settle()
        self.assertEqual(1, len(self.to("chunks")))

    def test_H15_too_much_of_a_header(self) -> None:
        """A line of a megabyte, a field of one, 20,000 of them: refused, and memory stays."""
        before = rss(self.relay.master())
        start = b"GET /zones HTTP/1.1\r\nHost: localhost\r\n"
        for data in (
            b"GET /" + b"x" * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"x" * MIB,
            start + b"X: " + b"y" * MIB + b"\r\n\r\n",
            start + b"X" * MIB + b": y\r\n\r\n",
            start + b"X: y\r\n" * 20_000 + b"\r\n",
            start + b"X: y\r\n" + b" y\r\n" * 20_000 + b"\r\n",
        ):
            with self.ask() as asker:
                asker.write(data)
                self.assertLessEqual({said.status for said in asker.all()}, {400, 414, 431}, data[:60])
        self.assertLess(rss(self.relay.master()) - before, GROWTH)

    def test_H15_no_header(self) -> None:
        for data in (
            b"GET /zones HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
            b"GET /zones HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
            b"GET /zones HTTP/1.1\r\nHost: localhost\r\n\0: x\r\n\r\n",
            b"GET /zones HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
            b"GET /zones HTTP/1.1\r\nHost: localhost\r\nX Y: x\r\n\r\n",
            b"GET /zones HTTP/1.1\r\n Host: localhost\r\n\r\n",
            b"GET /zones HTTP/1.1\nHost: localhost\n\n\r\n\r\n",
            b"GET /zo\0nes HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET  /zones HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /zones HTTP/2.0\r\nHost: localhost\r\n\r\n",
            b"GET /zones\r\n\r\n",
            b"\0\r\n\r\n",
            b"EHLO mail.test\r\n\r\n",
            b"\x16\x03\x01\x00\xf5\x01\x00\x00\xf1\x03\x03\r\n\r\n",
        ):
            self.assertEqual(400, self.once(data).status, data)

    def test_H13_too_much_is_said(self) -> None:
        """Bodies of 60 MB and of 10^20 bytes are refused before they come, whatever they are sent to; only lists of
        suppressions may be as long as the first."""
        for asked in self.operations():
            if not asked.takes:
                continue
            for length in (10**12, 10**20) if asked.path.endswith("/import") else (60_000_000, 10**20):
                head = request(asked.method, asked.path, None, f"Content-Length: {length}")
                with self.ask() as asker:
                    said = asker.say(head)
                self.assertIn(said.status, (400, 413), (str(asked), said))
                self.assertEqual("close", said.fields.get("connection"), str(asked))

    def test_H13_too_much_comes(self) -> None:
        """In chunks, whose sum nobody has said: cut at the limit."""
        before = rss(self.relay.master())
        chunk = b"%x\r\n%b\r\n" % (MIB, b"x\r\n" * (MIB // 3) + b"x")
        for path in ("/send", SEND, "/v1/holds"):
            with self.ask() as asker:
                asker.write(request("POST", path, None, "Transfer-Encoding: chunked"))
                for _ in range(60):
                    if not asker.trickle(b""):
                        break
                    asker.write(chunk)
                said = asker.answer()
            self.assertEqual(413, said and said.status, path)
        self.assertLess(rss(self.relay.master()) - before, 2 * GROWTH)

    def test_H13_what_is_packed(self) -> None:
        """Nothing is unpacked: 200 MiB that came in 200 KiB are refused by every operation, and so is a byte."""
        before = rss(self.relay.master())
        bomb = gzip.compress(bytes(1024) * 1024, 9) * 50
        for asked in self.operations():
            if not asked.takes:
                continue
            for coding in ("gzip", "deflate", "br", "gzip, gzip", "x"):
                with self.ask() as asker:
                    said = asker.say(request(asked.method, asked.path, bomb, f"Content-Encoding: {coding}"))
                self.assertEqual((415, "identity"), (said.status, said.fields.get("accept-encoding")), str(asked))
        self.assertEqual(200, self.ask().say(request("GET", "/zones", None, "Content-Encoding: identity")).status)
        self.assertLess(rss(self.relay.master()) - before, GROWTH)

    def test_H17_two_hundred_at_once(self) -> None:
        """Answers come in the order of the requests."""
        with self.ask() as asker:
            asker.write(b"".join(request("GET", f"/queued/queued/z{number}") for number in range(200)))
            for number in range(200):
                said = asker.answer()
                assert said is not None
                self.assertEqual(f"z{number}", json.loads(said.body)["zone"])

    def test_H17_a_thousand_one_after_the_other(self) -> None:
        """One connection serves them all, and memory stays."""
        before = rss(self.relay.master())
        with self.ask() as asker:
            for _ in range(1000):
                self.assertEqual(200, asker.say(request("GET", "/v1/health/live")).status)
        self.assertLess(rss(self.relay.master()) - before, GROWTH)

    def test_H17_who_reads_late(self) -> None:
        """More answers than fit on the way come all the same, once they are taken."""
        with self.ask() as asker:
            asker.write(request("GET", "/openapi.json") * 100 + request("GET", "/zones"))
            for _ in range(100):
                said = asker.answer()
                self.assertEqual(200, said and said.status)
            said = asker.answer()
            self.assertIn(b"default", said.body if said else b"")

    def test_H17_who_reads_nothing(self) -> None:
        """Requests without end from one who takes no answer: the relay stops reading, too."""
        before = rss(self.relay.master())
        asker = self.ask()
        asker.socket.settimeout(1.0)
        ask = request("GET", "/openapi.json") * 100
        sent = 0
        try:
            while sent < 64 * MIB:
                sent += asker.socket.send(ask)
        except TimeoutError:
            pass
        self.assertLess(sent, 64 * MIB, "it reads for ever")
        self.assertLess(rss(self.relay.master()) - before, GROWTH)
        asker.reset()

    def test_H18_paths_to_elsewhere(self) -> None:
        for path in (
            "/../../etc/passwd",
            "/docs/../../../etc/passwd",
            "/docs/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "/docs/..%2f..%2f..%2fetc%2fpasswd",
            "/docs/..%5c..%5cetc%5cpasswd",
            "/docs/....//....//etc/passwd",
            "/docs/%252e%252e%252fetc%252fpasswd",
            "/docs/..;/..;/etc/passwd",
            "/docs//etc/passwd",
            "//etc/passwd",
            "/fetch/../../etc/passwd",
            "/fetch/..%2f..%2fetc%2fpasswd",
            "/fetch/%00/etc/passwd",
            "/message/%c0%ae%c0%ae/etc/passwd",
            "/v1/dkim/keys/..%2f..%2f..%2fetc%2fpasswd",
            "/etc/passwd%00.css",
        ):
            with self.ask() as asker:
                said = asker.say(request("GET", path))
            self.assertIn(said.status, (400, 404, 405), path)
            self.assertNotIn(b"root:", said.body, path)

    def test_H24_other_targets_methods_and_hosts(self) -> None:
        """A relay is no proxy, repeats no header, and sends nobody to where the Host says."""
        for method, target, host in (
            ("TRACE", "/zones", "127.0.0.1"),
            ("TRACE", "/", "127.0.0.1"),
            ("CONNECT", "evil.test:443", "evil.test:443"),
            ("GET", "http://evil.test/zones", "127.0.0.1"),
            ("GET", "https://127.0.0.1/zones", "127.0.0.1"),
            ("GET", "evil.test", "127.0.0.1"),
            ("OPTIONS", "*", "127.0.0.1"),
            ("BREW", "/zones", "127.0.0.1"),
            ("G\x01T", "/zones", "127.0.0.1"),
            ("GET", "/zones", "evil.test"),
            ("GET", "/zones", "evil.test:80@127.0.0.1"),
            ("GET", "/zones", "127.0.0.1\r\nHost: evil.test"),
            ("GET", "/docs", "evil.test"),
            ("GET", "/docs/", "evil.test"),
            ("GET", "//evil.test/docs", "127.0.0.1"),
            ("GET", "/zones", "[::1"),
            ("GET", "/zones", "a" * 5000),
        ):
            said = self.once(request(method, target, None, f"Host: {host}", "X-Secret: repeated", "Connection: close"))
            self.assertIn(said.status, range(400, 500), (method, target, host))
            self.assertNotIn("location", said.fields)
            self.assertNotIn(b"repeated", said.body)
        no_host = b"GET /zones HTTP/1.1\r\nConnection: close\r\n\r\n"
        self.assertEqual(400, self.once(no_host).status)

    def test_H25_bodies_that_never_come(self) -> None:
        """Announced, begun, cut by RST: nothing is queued of them, and sockets return."""
        taken = len(self.mx.accepted())
        for path in (SEND, "/send", "/v1/holds", "/suppressionlist"):
            with self.ask() as asker:
                said = asker.say(request("POST", path, None, "Content-Length: 100", "Expect: 100-continue"))
                self.assertEqual(100, said.status, path)
            with self.ask() as asker:
                asker.write(request("POST", path, None, "Content-Length: 1000") + MAIL)
            for _ in range(20):
                asker = self.ask()
                asker.write(request("POST", path, None, "Content-Length: 1000") + MAIL)
                asker.reset()
            with self.ask() as asker:
                asker.write(request("POST", path, None, "Transfer-Encoding: chunked") + b"10\r\nFrom: <a@src.tes")
        self.until(lambda: self.sockets() <= self._sockets, "sockets that are given back")
        self.settle()
        self.assertEqual(taken, len(self.mx.accepted()))


class Slowness(Asking):
    """Time is what a request has too."""

    settings = {"http": 'timeout = "2s"\nmax_connections = 1000'}

    def test_H16_slow_headers_slow_bodies_and_silence(self) -> None:
        """150 of each, and of bodies that don't come at all: cut by the deadline; an honest request is served."""
        slow = [
            [(self.ask(), start, drop) for _ in range(150)]
            for start, drop in (
                (b"GET /zones HTTP/1.1\r\nHost: localhost\r\nX: ", b"y"),
                (request("POST", SEND, None, "Content-Length: 100000") + MAIL, b"x"),
                (request("POST", "/send", None, "Content-Length: 1000"), b""),
                (b"", b""),
            )
        ]
        for crowd in slow:
            for asker, start, _ in crowd:
                asker.write(start)
        held = [one for crowd in slow for one in crowd]
        self.assertTrue(any(not cut(asker, drop) for asker, _, drop in held), "all are gone already")
        for _ in range(3):
            begun = time.monotonic()
            with self.ask() as asker:
                self.assertEqual(200, asker.say(request("GET", "/zones")).status)
            self.assertLess(time.monotonic() - begun, SERVED)

        def rest() -> int:
            held[:] = [one for one in held if not cut(one[0], one[2])]
            return len(held)

        self.until(lambda: not rest(), "the end of the slow ones", 30.0)

    def test_H16_files_that_nobody_takes(self) -> None:
        """150 times a large file, for clients that read nothing: cut by the deadline, and not in memory so often."""
        before = rss(self.relay.master())
        held = []
        for _ in range(150):
            asker = self.ask()
            asker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asker.write(request("GET", "/docs/swagger-ui-bundle.js"))
            held.append(asker)
        most = 0

        def served() -> bool:
            nonlocal most
            most = max(most, rss(self.relay.master()) - before)
            return self.sockets() > self._sockets

        self.until(served, "the first of them")
        self.until(lambda: not served(), "the end of them")
        self.assertLess(most, GROWTH)


def cut(asker: Asker, drop: bytes) -> bool:
    """Whether one that has sent a little more was ended, or told that it is too late."""
    return not asker.trickle(drop) or asker.has_answer
