"""Both clients over a transport in memory: the same questions, the same answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
from twisted.trial.unittest import SynchronousTestCase

from relay_client import ApiProblem, AsyncClient, Attachment, Client, Mailbox, Message, NoAnswer, Wanted, blocking
from relay_client.access import NewKey
from relay_client.holds import Holds
from relay_client.http import place_of

Says = Callable[[httpx.Request], httpx.Response]
KEY = "zr_secret"
DELIVERY = {
    "name": "1a20169d1ea0007acc.001",
    "id": "1a20169d1ea0007acc",
    "seq": "001",
    "state": "deferred",
    "zone": "default",
    "domain": "example.org",
    "site": None,
    "sender": "me@example.com",
    "recipient": "you@example.org",
    "taken": "2026-12-01T08:00:00.000Z",
    "due": "2026-12-01T08:05:00.000Z",
    "attempts": 1,
    "reason": "capacity",
    "last_reply": "452 later",
    "held": None,
    "size": 500,
    "message_id": None,
    "tenant": None,
    "tags": ["a"],
}


class Relay:
    """Answers one after the other, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._say(request)

    async def awaited(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._say(request)

    def _say(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def client(self, **options: Any) -> Client:
        return Client(
            "http://relay.test", KEY, sleep=self.slept.append, transport=httpx.MockTransport(self), **options
        )

    def waiting(self, **options: Any) -> AsyncClient:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        transport = httpx.MockTransport(self.awaited)  # type: ignore[arg-type]
        return AsyncClient("http://relay.test", KEY, sleep=sleep, transport=transport, **options)


def ok(told: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=told)


def stream(*pieces: bytes) -> httpx.Response:
    class Both(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(pieces)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    return httpx.Response(200, stream=Both())


class BothTests(SynchronousTestCase):
    """Each test asks by both."""

    def both(
        self,
        answers: Callable[[], list[Any]],
        ask: Callable[[Client], Any],
        wait: Callable[[AsyncClient], Coroutine[Any, Any, Any]],
    ) -> tuple[Any, Relay]:
        """What both get, and the relay as it was asked by the second."""
        first, second = Relay(*answers()), Relay(*answers())

        async def waiting() -> Any:
            async with second.waiting() as client:
                return await wait(client)

        with first.client() as client:
            told = ask(client)
        self.assertEqual(told, asyncio.run(waiting()))
        self.assertEqual([_shape(one) for one in first.asked], [_shape(one) for one in second.asked])
        return told, second

    def test_a_question(self) -> None:
        answer = {"status": "unfit", "reasons": ["no"]}
        told, relay = self.both(lambda: [ok(answer, 503)], lambda c: c.state.ready(), lambda c: c.state.ready())
        self.assertEqual((told.status, told.reasons), ("unfit", ("no",)))
        [asked] = relay.asked
        self.assertEqual(str(asked.url), "http://relay.test/v1/health/ready")
        self.assertEqual(asked.headers["authorization"], f"Bearer {KEY}")

    def test_pages(self) -> None:
        async def wait(client: AsyncClient) -> list[Any]:
            return [one async for one in client.queue.search(Wanted(domain="example.org"), page=1)]

        pages = [{"items": [DELIVERY], "next": "c1"}, {"items": [], "next": "c2"}, {"items": [DELIVERY], "next": None}]
        told, relay = self.both(
            lambda: [ok(page) for page in pages],
            lambda c: list(c.queue.search(Wanted(domain="example.org"), page=1)),
            wait,
        )
        self.assertEqual([one.name for one in told], [DELIVERY["name"]] * 2)
        self.assertEqual(told[0].due, datetime(2026, 12, 1, 8, 5, tzinfo=UTC))
        queries = [dict(one.url.params) for one in relay.asked]
        self.assertEqual([query.get("cursor") for query in queries], [None, "c1", "c2"])
        self.assertEqual({query["domain"] for query in queries}, {"example.org"})

    def test_one_key_for_all_tries(self) -> None:
        def answers() -> list[Any]:
            later = httpx.Response(503, headers={"Retry-After": "2"}, json={"error": "full"})
            cut = httpx.ReadError("cut")
            return [later, cut, ok({"id": "x", "deliveries": [{"id": "x.001", "recipient": "a@b.c"}]}, 202)]

        message = Message(from_=Mailbox("me@example.com", "Me"), to=["a@b.c"], text="Hi")
        told, relay = self.both(answers, lambda c: c.messages.send(message), lambda c: c.messages.send(message))
        self.assertEqual(told.deliveries[0].id, "x.001")
        self.assertEqual(len({one.headers["idempotency-key"] for one in relay.asked}), 1)
        self.assertEqual(len({one.content for one in relay.asked}), 1)
        self.assertEqual(
            json.loads(relay.asked[0].content),
            {"from": {"address": "me@example.com", "name": "Me"}, "to": ["a@b.c"], "text": "Hi"},
        )
        self.assertGreater(relay.slept[0], 2.0)

    def test_a_file_in_pieces(self) -> None:
        told, relay = self.both(
            lambda: [ok({"added": 2, "unchanged": 0, "bad": 0, "faults": []})],
            lambda c: c.suppressions.load(iter([b"a\n", b"b\n"]), reason="old"),
            lambda c: c.suppressions.load(iter([b"a\n", b"b\n"]), reason="old"),
        )
        self.assertEqual((told.added, relay.asked[0].content), (2, b"a\nb\n"))
        self.assertEqual(relay.asked[0].headers["content-type"], "text/csv")

    def test_a_file_comes_out(self) -> None:
        async def wait(client: AsyncClient) -> bytes:
            return b"".join([piece async for piece in client.suppressions.export()])

        told, _ = self.both(lambda: [stream(b"a\n", b"b\n")], lambda c: b"".join(c.suppressions.export()), wait)
        self.assertEqual(told, b"a\nb\n")

    def test_events_over_the_end_of_a_connection(self) -> None:
        def answers() -> list[Any]:
            event = b'id: %d\nevent: event\ndata: {"number": %d, "kind": "queued", "time": 1}\n\n'
            return [
                stream(event % (5, 5), b"event: missed\ndata: {"),
                httpx.ConnectError("refused"),
                httpx.Response(503, json={"detail": "full"}),
                stream(b'event: missed\ndata: {"until": 8}\n\n', event % (9, 9)),
            ]

        async def wait(client: AsyncClient) -> list[Any]:
            events = client.events.live(after=4)
            return [await anext(events) for _ in range(3)]

        def ask(client: Client) -> list[Any]:
            events = client.events.live(after=4)
            return [next(events) for _ in range(3)]

        told, relay = self.both(answers, ask, wait)
        self.assertEqual([getattr(one, "number", None) for one in told], [5, None, 9])
        self.assertEqual(told[1].until, 8)
        self.assertEqual([one.headers.get("last-event-id") for one in relay.asked], [None, "5", "5", "5"])
        self.assertEqual(len(relay.slept), 3)

    def test_refused(self) -> None:
        def problem() -> httpx.Response:
            return httpx.Response(404, json={"detail": "There is no such zone", "code": "ResourceNotFound"})

        for ask in (
            lambda c: c.zones.one("x"),
            lambda c: list(c.zones.all()),
            lambda c: list(c.suppressions.export()),
            lambda c: list(c.events.live()),
        ):
            with self.assertRaises(ApiProblem) as caught:
                ask(Relay(problem()).client())
            self.assertEqual((caught.exception.status, caught.exception.code), (404, "ResourceNotFound"))

    def test_nobody_there(self) -> None:
        relay = Relay(*[httpx.ConnectError("refused")] * 3)
        with self.assertRaisesRegex(NoAnswer, "^no answer from http://relay.test: refused$"):
            relay.client(tries=3).zones.one("x")
        self.assertEqual(len(relay.slept), 2)

    def test_an_answer_without_end(self) -> None:
        self.patch(blocking, "LONGEST", 10)
        with self.assertRaisesRegex(NoAnswer, "more than 10 bytes"):
            Relay(ok({"status": "ok", "reasons": []})).client().state.live()


def _shape(request: httpx.Request) -> tuple[Any, ...]:
    named = {name: value for name, value in request.headers.items() if name != "idempotency-key"}
    return request.method, str(request.url), named, request.content


class _Answering(socketserver.StreamRequestHandler):
    """Health, whatever is asked."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        body = b'{"status": "ok", "reasons": []}'
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))


class SocketTests(SynchronousTestCase):
    """Over sockets that are there."""

    def test_a_unix_socket(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/s"
        with socketserver.UnixStreamServer(path, _Answering) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                told = asyncio.run(self.both(f"unix:{path}"))
            finally:
                server.shutdown()
                thread.join()
        self.assertEqual(told, ["ok", "ok"])

    async def both(self, url: str) -> list[str]:
        async with AsyncClient(url) as client:
            first = await client.state.live()
        with Client(url) as other:
            return [first.status, (await asyncio.to_thread(other.state.live)).status]

    def test_nobody_listens(self) -> None:
        """It wasn't reached: also what changes something is tried again."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            slept: list[float] = []
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            with Client(url, tries=3, sleep=slept.append) as client, self.assertRaises(NoAnswer):
                client.holds.add("why", everything=True)
            self.assertEqual(len(slept), 2)


class WordTests(SynchronousTestCase):
    def test_attachments(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"\xff\x00")
        relay = Relay(ok({"id": "x"}, 202))
        relay.client().messages.send(Message(from_="a@b.c", to="d@e.f", attachments=[Attachment.of(path)]))
        self.assertEqual(
            json.loads(relay.asked[0].content)["attachments"], [{"content": "/wA=", "filename": path.name}]
        )

    def test_raw(self) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"] = "a@b.c", "d@e.f"
        mail.set_content("Hi\n")
        relay = Relay(ok({"id": "x", "from": "", "to": ["d@e.f", "g@h.i"], "response": "Message queued as x"}))
        told = relay.client().messages.send_raw(mail, sender="", recipients=["d@e.f", "g@h.i"], key="mine")
        [asked] = relay.asked
        self.assertEqual((told.id, told.to), ("x", ("d@e.f", "g@h.i")))
        self.assertEqual(str(asked.url), "http://relay.test/send-raw?from=&to=d%40e.f%2Cg%40h.i")
        self.assertEqual((asked.headers["idempotency-key"], asked.headers["content-type"]), ("mine", "message/rfc822"))
        self.assertTrue(asked.content.endswith(b"\r\n\r\nHi\r\n"))

    def test_a_wait_is_waited_for(self) -> None:
        relay = Relay(ok({"id": "x"}, 202))
        relay.client(timeout=5.0).messages.send(Message(), wait=60)
        timeout = relay.asked[0].extensions["timeout"]
        self.assertEqual((timeout["connect"], timeout["read"]), (5.0, 65.0))

    def test_secrets_are_not_shown(self) -> None:
        made = NewKey(
            id="k1", name="shop", scopes=("submit",), tenant=None, domains=(), networks=(), rates=(),
            created=datetime(2026, 12, 1, tzinfo=UTC), expires=None, used=None, key=KEY,
        )  # fmt: skip
        self.assertNotIn(KEY, repr(made) + str(made))

    def test_where_a_relay_is(self) -> None:
        self.assertEqual(place_of("http://127.0.0.1:8080/"), ("http://127.0.0.1:8080", None))
        self.assertEqual(place_of("https://[::1]:8443"), ("https://[::1]:8443", None))
        self.assertEqual(place_of("unix:/run/api.sock"), ("http://localhost", "/run/api.sock"))
        for url in ("", "relay", "ftp://x", "http://", "http://user:secret@x", "http://x/path", "unix:", "http://x:y"):
            with self.assertRaises(ValueError):
                place_of(url)
        for key in ("zr_a b", "zr_ü", "zr_a\r\nX: y"):
            with self.assertRaises(ValueError):
                Client("http://relay.test", key)

    def test_names_of_deliveries_and_of_messages(self) -> None:
        client = Relay().client()
        with self.assertRaises(ValueError):
            client.queue.why("1a20169d1ea0007acc")
        with self.assertRaises(ValueError):
            list(client.queue.whys("1a20169d1ea0007acc.001"))
        with self.assertRaises(ValueError):
            client.queue.act("1a20169d1ea0007acc", "delete")

    def test_help_tells(self) -> None:
        for method in (Relay().client().holds.add, Holds.add):
            self.assertIn("relay.holds.add(", method.__doc__ or "")
