"""Signatures by real processes: what arrives is valid, keys come and go while mail flows."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import dkim as dkimpy
import dns.message
import dns.rrset

from tests.scenario.harness import Relay, Scenario, deferToThread, post, strace
from tests.scenario.test_headers import submit
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, pem, put, records, verdicts
from tests.unit.test_dkim_arc import TEXT as ARC_TEXT
from tests.unit.test_dkim_arc import begun

TEXT = b"From: A <a@example.test>\r\nTo: b@x.test\r\nSubject: s\r\n\r\nbody  \t of \r\n.dot\r\n%b\r\n\r\n"


class Signed(Scenario):
    def begin(self, options: str = "", **settings: Any) -> Relay:
        self.keys = f"{self.directory}/keys"
        os.makedirs(self.keys, exist_ok=True)
        os.makedirs(f"{self.directory}/mail", exist_ok=True)
        self.mx.options = ("--dump", f"{self.directory}/mail")
        return self.relay(extra=f'[dkim]\nkeys = "{self.keys}"\n{options}', **settings)

    def put(self, file: str, key: Any) -> None:
        """In its place at once, as an operator should."""
        put(f"{self.directory}/new", file, key)
        os.rename(f"{self.directory}/new/{file}", f"{self.keys}/{file}")

    async def sent(self, relay: Relay, text: bytes = TEXT % b"x") -> bytes:
        """One message; as it arrives."""
        before = len(self.mx.accepted())
        code, said = await deferToThread(submit, relay, text)
        self.assertEqual(code, 250, said)
        await self.until(lambda: len(self.mx.accepted()) > before, 20, "the message", relay)
        return self.arrived(-1)

    def arrived(self, number: int) -> bytes:
        return Path(self.directory, "mail", self.mx.accepted()[number]["file"]).read_bytes()

    async def api(self, relay: Relay, path: str) -> bytes:
        def get() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{relay.api}{path}", timeout=10) as answer:
                return bytes(answer.read())

        return await deferToThread(get)

    async def test_K05_K06_what_arrives_is_valid(self) -> None:
        """Small and large, from a receiver too, twice on one connection, by two keys."""
        for receivers in (0, 1):
            relay = self.begin(receivers=receivers)
            self.put("example.test.s1.pem", RSA)
            self.put("example.test.ed.pem", ED25519)
            published = records(self.keys)
            await self.up(relay)
            long_line = b"From: a@example.test\r\nSubject: " + b"word " * 300 + b"\r\n\r\n" + b"x" * 3000
            for text in (
                TEXT % b"y",
                TEXT % b"y",
                TEXT % (b"line of text \t \r\n" * 40_000),
                long_line,
                b"From: a@example.test\r\n\r\n",
                "From: ü <a@example.test>\r\nSubject: ä\r\n\r\nö\r\n".encode(),
            ):
                self.assertEqual(verdicts(await self.sent(relay, text), published), [True, True], text[:100])
            relay.kill()

    async def test_K03_keys_are_replaced_and_deleted_while_it_runs(self) -> None:
        relay = self.begin()
        self.put("known.test.s1.pem", RSA)
        await self.up(relay)
        self.assertEqual(verdicts(await self.sent(relay), {}), [])
        self.put("example.test.s1.pem", RSA)
        published = records(self.keys)
        self.assertEqual(verdicts(await self.sent(relay), published), [True])
        self.put("example.test.s1.pem", OTHER_RSA)
        other = records(self.keys)
        self.assertNotEqual(other, published)
        self.assertEqual(verdicts(await self.sent(relay), other), [True])
        for file in os.listdir(self.keys):
            os.remove(f"{self.keys}/{file}")
        self.assertEqual(verdicts(await self.sent(relay), {}), [])
        await self.until(lambda: "kind=key-gone" in relay.said(), 10, "a word of it", relay)

    async def test_K01_a_bad_key_is_told_of_everywhere_and_mail_goes(self) -> None:
        relay = self.begin()
        self.put("example.test.s1.pem", b"-----BEGIN nothing\n")
        await self.up(relay)
        await self.until(lambda: "kind=bad-key" in relay.said(), 10, "a word of it at the start", relay)
        self.assertEqual(verdicts(await self.sent(relay), {}), [])
        await self.until(lambda: "unsigned=" in relay.said(), 10, "the line of the delivery", relay)
        self.assertRegex(relay.said(), r"(?m)^\S+ delivered .* unsigned=\"example\.test\.s1\.pem: no private key")
        self.assertIn(b"zonerelay_dkim_unsigned_total 1.0", await self.api(relay, "/metrics"))
        self.assertIn(b'zonerelay_dkim_keys{state="bad"} 1.0', await self.api(relay, "/metrics"))
        health = json.loads(await self.api(relay, "/v1/dkim"))
        self.assertEqual((health["status"], health["bad"][0]["file"]), ("degraded", "example.test.s1.pem"))
        events = json.loads(await self.api(relay, "/v1/decisions?kind=bad-key"))["decisions"]
        self.assertEqual(events[0]["domain"], "example.test")
        Path(f"{self.keys}/example.test.s1.pem").write_bytes(pem(RSA))
        self.assertEqual(verdicts(await self.sent(relay), records(self.keys)), [True])
        await self.until(lambda: "kind=good-key" in relay.said(), 20, "that it is good", relay)
        self.assertEqual(json.loads(await self.api(relay, "/v1/dkim"))["status"], "ok")

    async def test_K04_whose_mail_it_is(self) -> None:
        """Signed for the domain of all its authors, or not at all, though others have keys here."""
        relay = self.begin()
        for domain in ("example.test", "other.test", "sender.test"):
            self.put(f"{domain}.s1.pem", RSA)
        await self.up(relay)
        for author, domain in (
            (b"From: a@example.test, b@other.test\r\n", b""),
            (b"From: a@example.test\r\nFrom: b@other.test\r\n", b""),
            (b"From: a@example.test, b@example.test\r\n", b"example.test"),
            (b"", b"sender.test"),
            (b"From: Us: a@other.test, b@other.test;\r\n", b"other.test"),
            (b"From: undisclosed:;\r\n", b"sender.test"),
            (b"From: \xc3\xbc \xff <a@other.test>\r\n", b"other.test"),
            (b"From: A\r\n B\r\n\t<a@example.test>\r\n", b"example.test"),
            (b'From: "a@other.test" <a@example.test>\r\n', b"example.test"),
            (b"From: a@example.test <b@other.test\r\n", b""),
        ):
            message = await self.sent(relay, author + b"Subject: s\r\n\r\nx\r\n")
            self.assertEqual(verdicts(message, records(self.keys)), [True] if domain else [], author)
            self.assertEqual(re.findall(rb"\bd=([^;]+);", message), [domain] if domain else [], author)

    async def test_K03_keys_by_the_api_sign_the_next_message(self) -> None:
        """In all sender processes, and no message goes without while they are replaced."""
        relay = self.begin(processes=2)
        await self.up(relay)

        async def ask(method: str, body: bytes = b"") -> tuple[int, Any]:
            status, answer = await deferToThread(post, relay.api, "/v1/dkim/example.test/s1", body, method)
            return status, json.loads(answer)

        for method, body, expected, valid in (
            ("PUT", pem(RSA), 201, [True]),
            ("PUT", b'{"generate": "ed25519"}', 200, [True]),
            ("DELETE", b"", 200, []),
            ("PUT", pem(OTHER_RSA).replace(b"\n", b"\r\n"), 201, [True]),
        ):
            status, told = await ask(method, body)
            self.assertEqual(status, expected, told)
            published = {told["record"]["name"]: told["record"]["value"]} if "record" in told else {}
            for _ in range(3):
                self.assertEqual(verdicts(await self.sent(relay), published), valid, method)
            if published:
                self.assertEqual((await ask("GET"))[1], told)
        status, told = await ask("PUT", b'{"generate": "rsa512"}')
        self.assertEqual((status, told["field"]), (400, "generate"))
        mode = os.stat(f"{self.keys}/example.test.s1.pem").st_mode
        self.assertEqual(mode & 0o777, 0o600)
        self.assertNotIn("PRIVATE", relay.said())

    async def test_K01_K03_a_bad_or_deleted_key_holds_mail_where_that_is_asked_for(self) -> None:
        relay = self.begin('on_bad_key = "defer"', retry='["1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "60s"]')
        self.put("example.test.s1.pem", b"")
        await self.up(relay)
        code, _ = await deferToThread(submit, relay, TEXT % b"x")
        self.assertEqual(code, 250)
        await self.until(lambda: " deferred id=" in relay.said(), 10, "the deferral", relay)
        self.assertRegex(relay.said(), r"deferred .*stage=mail category=ours .*it is empty")
        self.assertEqual(self.mx.accepted(), [])
        self.put("example.test.s1.pem", RSA)
        await self.until(self.mx.accepted, 20, "the message", relay)
        self.assertEqual(verdicts(self.arrived(0), records(self.keys)), [True])

    async def test_K02_no_file_outside_the_keys_is_opened(self) -> None:
        """Whatever domains mail names: the kernel is asked for none of them."""
        relay = self.begin("sign_transport_domain = true")
        self.put("example.test.s1.pem", RSA)
        trace = f"{self.directory}/trace"
        await self.up(relay, before=strace("-e", "trace=%file", output=trace), seconds=60)
        domains = (b"../../marked.test", b"marked/x.test", b"marked.test", b"x." * 150 + b"marked", b"\xffmarked.test")
        for number, domain in enumerate(domains):
            text = b"From: <a@%b>\r\nX-Audit-Id: %d\r\n\r\nx\r\n" % (domain, number)
            code, said = await deferToThread(submit, relay, text)
            self.assertEqual(code, 250, said)
        await self.until(lambda: len(self.mx.accepted()) == len(domains), 20, "all of them", relay)
        self.assertEqual(verdicts(await self.sent(relay), records(self.keys)), [True])
        asked = Path(trace).read_bytes()
        self.assertIn(b"example.test.s1.pem", asked)
        self.assertNotIn(b"marked", asked)

    async def test_an_arc_chain_goes_on(self) -> None:
        """Its keys come from the DNS; what arrives has a chain of two, and our signature in it."""
        names = NameServer()
        self.addCleanup(names.stop)
        relay = self.begin(f'arc = "relay.test"\n[dns]\nnameservers = ["127.0.0.1:{names.port}"]')
        self.put("example.test.s1.pem", RSA)
        self.put("relay.test.s1.pem", RSA)
        others = f"{self.directory}/others"
        put(others, "list.test.s0.pem", OTHER_RSA)
        names.published = records(self.keys) | records(others)
        await self.up(relay)
        message = await self.sent(relay, begun(ARC_TEXT))
        self.assertEqual(verdicts(message, names.published), [True])
        verdict, sets, why = await deferToThread(dkimpy.ARC(message).verify, names.txt)
        self.assertEqual((verdict, len(sets)), (b"pass", 2), why)


class NameServer:
    """Knows some TXT records, in a thread."""

    def __init__(self) -> None:
        self.published: dict[str, str] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def txt(self, name: bytes, timeout: int = 5) -> bytes | None:
        found = self.published.get(name.decode().rstrip("."))
        return None if found is None else found.encode()

    def stop(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return self._socket.close()
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            name = query.question[0].name.to_text(omit_final_dot=True)
            text = self.published.get(name, "")
            if text:
                strings = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", strings))
            self._socket.sendto(response.to_wire(), client)
