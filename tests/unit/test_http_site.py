"""Who is let in, and what errors look like."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from relay.http.access import host_name, is_loopback
from relay.queue.store import StoreError
from tests.unit.api_rig import Rig


class AccessTests(SynchronousTestCase):
    def test_only_from_loopback(self) -> None:
        """H19."""
        for method, path in (("GET", "/zones"), ("POST", "/send-raw"), ("GET", "/metrics"), ("GET", "/none")):
            answer = Rig(peer="192.0.2.1").request(method, path)
            self.assertEqual((answer.status, answer.json["code"]), (401, "Unauthorized"))
            self.assertEqual(Rig(open_loopback=False).request(method, path).status, 401)

    def test_a_unix_socket_is_of_this_machine(self) -> None:
        rig = Rig()
        rig.peer = UNIXAddress(None)  # type: ignore[assignment]
        self.assertEqual(rig.get("/zones").status, 200)
        self.assertEqual(rig.request("GET", "/zones", Host="evil.example").status, 403)
        self.assertEqual(rig.request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"x").status, 200)
        self.assertEqual(rig.intake.opened[0][0].address, "127.0.0.1")
        client = rig.connect()
        client.send(b"GET /zones HTTP/1.0\r\n\r\n")
        self.assertEqual(client.answer().status, 400)

    def test_h24_host(self) -> None:
        rig = Rig()
        for host in (
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "[::1]:8080",
            "relay.example.com",
            "10.0.0.1:1",
        ):
            self.assertEqual(rig.request("GET", "/zones", Host=host).status, 200, host)
        for host in (
            "evil.example",
            "localhost.evil.example",
            "[::1",
            "a b",
            "localhost:x",
            "127.0.0.1:8080:1",
            "@",
        ):
            answer = rig.request("GET", "/zones", Host=host)
            self.assertEqual(answer.status, 403, host)
            self.assertNotIn("location", answer.headers)
        self.assertEqual(rig.request("GET", "/zones", Host="").status, 400)
        client = rig.connect()
        client.send(b"GET /zones HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        self.assertEqual(client.answer().status, 400)

    def test_h21_web_pages_of_others(self) -> None:
        rig = Rig()
        for headers in (
            {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"},
            {"Origin": "https://127.0.0.1:8080"}, {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ):  # fmt: skip
            self.assertEqual(rig.request("POST", "/send-raw", b"x", **headers).status, 403, headers)
        self.assertEqual(rig.intake.submissions, [])
        self.assertEqual(rig.request("GET", "/zones", Origin="http://127.0.0.1:8080").status, 200)

    def test_h24_odd_targets(self) -> None:
        for method, target, status in (
            ("TRACE", "/zones", 405), ("CONNECT", "evil.example:443", 400),
            ("GET", "http://evil.example/zones", 400),
            ("OPTIONS", "*", 400), ("GET", "/%ff", 400), ("BREW", "/zones", 405),
        ):  # fmt: skip
            answer = Rig().request(method, target)
            self.assertEqual(answer.status, status, target)
            self.assertNotIn("location", answer.headers)

    def test_h18_path_traversal(self) -> None:
        for path in (
            "/../../etc/passwd", "/fetch/../../etc/passwd", "/fetch/..%2f..%2fetc%2fpasswd",
            "/fetch/%2e%2e/x",
            "/message//etc/passwd", "/fetch/....//x", "/fetch/%00", "/./zones/..", "/fetch/..%5c",
            "//etc/passwd",
            "/message/../zones", "/fetch/%252e%252e%252fx", "/fetch/1a20169d1ea0007acc%00",
            "/fetch/" + "a" * 8000,
        ):  # fmt: skip
            answer = Rig().get(path)
            self.assertIn(answer.status, (404, 405), path)
            self.assertNotIn(b"root:", answer.body)

    def test_names(self) -> None:
        self.assertEqual(host_name(b"[::1]:80"), "::1")
        self.assertEqual(host_name(b"x:123456"), "")
        self.assertTrue(is_loopback("::ffff:127.0.0.1"))
        self.assertFalse(is_loopback("::ffff:10.0.0.1"))
        self.assertFalse(is_loopback(""))


class ShapeTests(SynchronousTestCase):
    def test_unknown_path(self) -> None:
        answer = Rig().get("/nowhere?x=1")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.json, {"code": "ResourceNotFound", "message": "/nowhere does not exist"})

    def test_wrong_method(self) -> None:
        answer = Rig().request("PUT", "/zones")
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.json, {"code": "MethodNotAllowed", "message": "PUT is not allowed"})
        self.assertIn("get", answer.headers["allow"])

    def test_h01_h02_bad_json(self) -> None:
        for body in (b"{", b"\xff\xfe{}", b'"\xff"', b"[" * 60_000, b"nan"):
            answer = Rig().request("PUT", "/message/x/", body, Content_Type="application/json; charset=utf-8")
            self.assertEqual((answer.status, answer.json["code"]), (400, "InvalidContent"))

    def test_large_body_where_none_is_expected(self) -> None:
        client = Rig().connect()
        client.head("PUT", "/message/x/", 100_000)
        self.assertEqual(client.answer().status, 413)

    def test_the_queue_fails(self) -> None:
        rig = Rig()

        def zones() -> list[str]:
            raise StoreError("reopening")

        rig.store.zones = zones  # type: ignore[method-assign]
        answer = rig.get("/counter/zone/")
        self.assertEqual((answer.status, answer.json), (503, {"error": "reopening"}))

    def test_our_own_faults_are_logged_and_not_shown(self) -> None:
        rig = Rig()

        def zones() -> list[str]:
            raise RuntimeError("secret")

        rig.store.zones = zones  # type: ignore[method-assign]
        answer = rig.get("/counter/zone/")
        self.assertEqual((answer.status, answer.json), (500, {"error": "Internal error"}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_head(self) -> None:
        client = Rig().connect()
        client.head("HEAD", "/zones", None)
        self.assertTrue(client.transport.value().startswith(b"HTTP/1.1 200"))
        self.assertTrue(client.transport.value().endswith(b"\r\n\r\n"))


class ConnectionTests(SynchronousTestCase):
    def test_keep_alive_and_pipelining(self) -> None:
        """H17."""
        client = Rig().connect()
        client.send(b"GET /zones HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        self.assertEqual(client.transport.value().count(b"HTTP/1.1 200 OK"), 200)

    def test_H17_who_takes_no_answer_gets_no_other(self) -> None:
        rig = Rig()
        client = rig.connect()

        def zones() -> list[str]:
            client.protocol.pauseProducing()  # as the transport does, whose buffer is full
            return []

        rig.store.zones = zones  # type: ignore[method-assign]
        client.send(b"GET /counter/zone/ HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        for count in (1, 2, 3):
            self.assertEqual(client.transport.value().count(b"HTTP/1.1 200 OK"), count)
            self.assertEqual(client.transport.producerState, "paused")
            client.protocol.resumeProducing()
        self.assertEqual(client.transport.value().count(b"HTTP/1.1 200 OK"), 3)
        self.assertEqual(client.transport.producerState, "producing")

    def test_too_many(self) -> None:
        rig = Rig(max_connections=2)
        clients = [rig.connect(), rig.connect()]
        self.assertEqual(rig.connect().answer().status, 503)
        clients[0].lose()
        self.assertEqual(rig.get("/zones").status, 200)

    def test_h16_idle_and_slow_header(self) -> None:
        rig = Rig(timeout=10.0)
        idle, slow = rig.connect(), rig.connect()
        slow.send(b"GET /zones HTTP/1.1\r\n")
        for _ in range(10):
            slow.send(b"X: y\r\n")
            rig.clock.advance(1)
        self.assertTrue(idle.transport.disconnecting)
        self.assertTrue(slow.transport.disconnecting)
        for client in (idle, slow):
            client.lose()
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def test_H16_a_body_that_never_comes(self) -> None:
        rig = Rig(timeout=10.0)
        client = rig.connect()
        client.head("POST", "/send-raw?from=a@b.test&to=c@d.test", 100)
        rig.clock.advance(10.0)
        self.assertTrue(client.transport.disconnecting)
        client.lose()
        self.assertTrue(rig.intake.submissions[0].abandoned)
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def test_closing(self) -> None:
        rig = Rig()
        idle, busy = rig.connect(), rig.connect()
        busy.send(b"POST /send-raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\na")
        rig.site.close_connections()
        self.assertTrue(idle.transport.disconnecting)
        self.assertFalse(busy.transport.disconnecting)
        busy.send(b"bcde")
        self.assertEqual(busy.answer().status, 200)
        self.assertTrue(busy.transport.disconnecting)

    def test_h15_headers(self) -> None:
        for head in (
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n", b"GET /zones HTTP/1.1\r\n" + b"X: y\r\n" * 200,
            b"GET /zones HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /zones HTTP/1.1\r\nX: \0\r\n\r\n", b"\0\r\n\r\n",
        ):  # fmt: skip
            client = Rig().connect()
            client.send(head)
            self.assertTrue(client.transport.disconnecting, head[:40])
            self.assertNotIn(b" 200 ", client.transport.value())

    def test_H13_nothing_is_unpacked(self) -> None:
        for coding in ("gzip", "GZIP", "deflate, gzip", "x"):
            answer = Rig().request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"\x1f\x8b", Content_Encoding=coding)
            self.assertEqual((answer.status, answer.headers["accept-encoding"]), (415, "identity"))
        answer = Rig().request("POST", "/send-raw?from=a@b.test&to=c@d.test", b"x", Content_Encoding="identity")
        self.assertEqual(answer.status, 200)

    def test_h14_what_is_no_request_has_the_shape_of_errors(self) -> None:
        """Problem+json under /v1, elsewhere that of the original; and the connection ends."""
        for path, kind in (("/v1/queue?x=1", "application/problem+json"), ("/zones", "application/json")):
            for fields, status in (
                ("no colon", 400), ("A: b\r\n" * 200, 400), ("Content-Length: x", 400), ("A: " + "b" * 20000, 431),
            ):  # fmt: skip
                client = Rig().connect()
                client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode())
                answer = client.answer()
                self.assertEqual((answer.status, answer.headers["content-type"]), (status, kind))
                self.assertEqual(answer.headers["connection"], "close")
                self.assertTrue(answer.json["code"])
                self.assertTrue(client.transport.disconnecting)
        for line, status in ((b"nonsense\r\n\r\n", 400), (b"GET /v1/" + b"a" * 20000, 414)):
            client = Rig().connect()
            client.send(line)
            self.assertEqual(client.answer().status, status)
        client = Rig().connect()
        client.send(b"HEAD /v1/queue HTTP/1.1\r\nno colon\r\n\r\n")
        self.assertTrue(client.transport.value().endswith(b"\r\n\r\n"))

    def test_h14_a_request_that_was_refused_gets_no_second_answer(self) -> None:
        client = Rig(max_size=10).connect()
        client.send(b"POST /send HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
        client.send(b"zz\r\n")
        self.assertEqual(client.transport.value().count(b"HTTP/1.1"), 1)
        self.assertEqual(client.answer().status, 413)
        self.assertTrue(client.transport.disconnecting)

    def test_errors_are_problems_however_v1_is_spelt(self) -> None:
        for path in ("/v1", "/v1/none", "//v1/none", "/%761/none", "/v1%2fnone"):
            answer = Rig().get(path)
            self.assertEqual((answer.status, answer.headers["content-type"]), (404, "application/problem+json"), path)
        for path in ("/v1x", "/none/v1/"):
            self.assertEqual(Rig().get(path).headers["content-type"], "application/json", path)

    def test_h14_framing(self) -> None:
        for fields in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 3\r\nContent-Length: 4",
            b"Content-Length: +3", b"Content-Length: -3", b"Content-Length: 3,3", b"Content-Length: x",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity", b"Content-Length: 1_0", b"Content-Length: " + b"0" * 60 + b"3",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: identity",
        ):  # fmt: skip
            client = Rig().connect()
            client.send(b"POST /send-raw HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n\r\n")
            client.send(b"abc\r\nGET /zones HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(client.transport.value().count(b"HTTP/1.1"), 1, fields)
            self.assertEqual(client.answer().status, 400, fields)
            self.assertTrue(client.transport.disconnecting)
