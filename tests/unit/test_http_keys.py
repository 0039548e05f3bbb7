"""Signing keys by API: what is put is on disk and signs, what can't sign is refused, and nothing private comes out."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from relay.dkim import making
from relay.dkim.keyfile import load
from relay.dkim.record import faults
from relay.http.keys import KeysApi
from tests.unit.api_rig import Answer, Rig
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, pem, put
from tests.unit.test_dkim_keys import SHORT

PATH = "/v1/dkim/example.test/s1"
FILE = "example.test.s1.pem"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = self.mktemp()
        self.looks = 0
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)
        self.rig = Rig(more=(KeysApi(self.keys, self, self.thread),))

    def hear(self, event: Any) -> None:
        self.said.append(eventAsText(event) + repr(event))

    def look(self) -> None:
        self.looks += 1

    def thread(self, work: Any, *arguments: Any) -> Deferred[Any]:
        return maybeDeferred(work, *arguments)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.keys)) if os.path.isdir(self.keys) else []

    def ask(self, method: str, body: bytes = b"", path: str = PATH, **headers: str) -> Answer:
        return self.rig.request(method, path, body, **headers)


class Putting(Case):
    def test_a_key_of_ones_own(self) -> None:
        for number, (content, key, algorithm, bits) in enumerate((
            (pem(RSA), RSA, "rsa-sha256", 1024),
            (pem(OTHER_RSA).replace(b"\n", b"\r\n"), OTHER_RSA, "rsa-sha256", 1024),
            (b"comment\n" + pem(ED25519), ED25519, "ed25519-sha256", 256),
        )):
            answer = self.ask("PUT", content)
            self.assertEqual(answer.status, 200 if number else 201, answer)
            self.assertEqual(answer.headers.get("location"), None if number else PATH)
            told = json.loads(answer.body)
            path = os.path.join(self.keys, FILE)
            found = load(path)
            self.assertEqual(pem(found.private), pem(key))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(self.files(), [FILE])
            self.assertEqual((told["algorithm"], told["bits"], told["status"]), (algorithm, bits, "ok"))
            self.assertEqual(told["record"]["name"], "s1._domainkey.example.test")
            self.assertEqual(faults(found, [told["record"]["value"]]), [])
            self.assertEqual("".join(told["record"]["strings"]), told["record"]["value"])
            self.assertLess(max(map(len, told["record"]["strings"])), 256)
            self.assertEqual(json.loads(self.ask("GET").body), told)
            self.assertEqual(self.looks, number + 1)

    def test_one_that_is_made(self) -> None:
        for kind, algorithm, bits in (("ed25519", "ed25519-sha256", 256), ("rsa2048", "rsa-sha256", 2048)):
            answer = self.ask("PUT", json.dumps({"generate": kind}).encode(), content_type="application/json")
            told = json.loads(answer.body)
            self.assertEqual((told["algorithm"], told["bits"]), (algorithm, bits))
            self.assertEqual(faults(load(os.path.join(self.keys, FILE)), [told["record"]["value"]]), [])

    def test_K01_what_can_not_sign(self) -> None:
        secret = BestAvailableEncryption(b"secret")
        for content, words in (
            (b"", "it is empty"),
            (b" \r\n", "it is empty"),
            (RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, making.NoEncryption()), "DER form; expected PEM"),
            (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret), "passphrase"),
            (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "public key"),
            (pem(ec.generate_private_key(ec.SECP256R1())), "neither an RSA key"),
            (pem(rsa.generate_private_key(65537, 1024))[:300], "no private key in PEM form"),
            (SHORT, "512 bits; those of 1024 to 4096"),
        ):
            answer = self.ask("PUT", content)
            told = json.loads(answer.body)
            self.assertEqual((answer.status, told["code"]), (400, "InvalidKey"), told)
            self.assertRegex(told["detail"], words)
            self.assertEqual(self.files(), [])
        self.assertEqual(self.looks, 0)

    def test_K01_a_directory_in_its_place(self) -> None:
        os.makedirs(os.path.join(self.keys, FILE))
        for method in ("PUT", "DELETE"):
            answer = self.ask(method, pem(RSA) if method == "PUT" else b"")
            self.assertEqual(answer.status, 409, answer)
            self.assertIn(b"is a directory", answer.body)
        self.assertEqual(self.files(), [FILE])
        self.assertEqual(json.loads(self.ask("GET").body)["reason"], "it is a directory")

    def test_K01_one_that_is_bad_is_told_and_can_be_replaced(self) -> None:
        put(self.keys, FILE, b"")
        told = json.loads(self.ask("GET").body)
        self.assertEqual((told["status"], told["reason"]), ("bad", "it is empty"))
        self.assertEqual(self.ask("PUT", pem(RSA)).status, 200)
        self.assertEqual(json.loads(self.ask("GET").body)["status"], "ok")

    def test_K03_however_it_is_spelled_there_is_one(self) -> None:
        put(self.keys, "Example.test.S1.pem", RSA)
        self.assertEqual(json.loads(self.ask("GET", path="/v1/dkim/EXAMPLE.test/s1").body)["status"], "ok")
        self.assertEqual(self.ask("PUT", pem(ED25519), path="/v1/dkim/EXAMPLE.test/S1").status, 200)
        self.assertEqual(self.files(), [FILE])

    def test_K03_who_looks_whether_the_directory_was_changed_sees_it(self) -> None:
        """Even twice within one step of the clock of the file system."""
        seen = set()
        for number in range(5):
            self.ask("PUT", pem(ED25519), path=f"/v1/dkim/example.test/s{number}")
            seen.add(os.stat(self.keys).st_mtime_ns)
        self.ask("DELETE", path="/v1/dkim/example.test/s1")
        seen.add(os.stat(self.keys).st_mtime_ns)
        self.assertEqual(len(seen), 6)

    def test_a_directory_of_somebody_else(self) -> None:
        """Who may write there may not set its time, which is no reason to say that nothing was put."""

        def refused(*_: Any, **__: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "utime", refused)
        self.assertEqual(self.ask("PUT", pem(ED25519)).status, 201)
        self.assertEqual(self.ask("DELETE").status, 200)
        self.assertEqual(self.files(), [])

    def test_a_disk_that_is_full(self) -> None:
        put(self.keys, FILE, RSA)

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "fsync", full)
        answer = self.ask("PUT", pem(ED25519))
        self.assertEqual(answer.status, 507)
        self.assertEqual(json.loads(answer.body)["detail"], "The key was not put: No space left on device")
        self.assertEqual(self.files(), [FILE])
        self.assertEqual(pem(load(os.path.join(self.keys, FILE)).private), pem(RSA))

    def test_fields(self) -> None:
        for body, words in (
            (b"{}", "generate: expected one of rsa2048"), (b'{"generate": 1}', "generate: expected a string"),
            (b'{"generate": "rsa512"}', "generate: expected one of"), (b'{"make": "rsa2048"}', "unknown field"),
            (b"{", "Expected JSON"),
        ):  # fmt: skip
            answer = self.ask("PUT", body)
            self.assertEqual(answer.status, 400)
            self.assertIn(words, json.loads(answer.body)["detail"])
        self.assertEqual(self.files(), [])


class Deleting(Case):
    def test_it_is_gone(self) -> None:
        put(self.keys, FILE, RSA)
        put(self.keys, "example.test.s2.pem", RSA)
        answer = self.ask("DELETE")
        self.assertEqual(json.loads(answer.body), {"domain": "example.test", "selector": "s1", "deleted": True})
        self.assertEqual((self.files(), self.looks), (["example.test.s2.pem"], 1))
        for method in ("GET", "DELETE"):
            answer = self.ask(method)
            self.assertEqual((answer.status, json.loads(answer.body)["code"]), (404, "ResourceNotFound"))

    def test_no_directory_no_keys(self) -> None:
        for method in ("GET", "DELETE"):
            self.assertEqual(self.ask(method).status, 404)

    def test_other_methods(self) -> None:
        answer = self.ask("POST", b"x")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "delete, get, head, put"))


class Guards(Case):
    def test_K02_names_that_lead_elsewhere(self) -> None:
        outside = os.path.join(os.path.dirname(self.keys), "marked.s1.pem")
        put(os.path.dirname(self.keys) or ".", "marked.s1.pem", RSA)
        self.addCleanup(os.remove, outside)
        os.mkdir(self.keys)
        for domain, selector in (
            ("../../etc/passwd", "s1"), ("example.test", "../../etc/passwd"), ("..", "marked"), ("a/b", "s1"),
            ("example.test", "a/b"), ("../marked", "s1"), ("example.test", "a\0b"), ("exa\0mple.test", "s1"),
            ("a" * 300, "s1"), ("example.test", "a" * 300), ("x." * 150 + "test", "s1"), ("example.test", "s.1"),
            (".", "."), ("example.test.", "s1"), ("-a.test", "s1"), ("a b.test", "s1"),
            ("b\u00fccher.test", "s1"), ("%2e%2e", "s1"), ("a\\b", "s1"), ("*", "*"),
        ):  # fmt: skip
            path = f"/v1/dkim/{quote(domain, safe='')}/{quote(selector, safe='')}"
            for method in ("PUT", "GET", "DELETE"):
                answer = self.ask(method, pem(RSA) if method == "PUT" else b"", path=path)
                self.assertEqual(answer.status, 400, (method, path))
                self.assertNotIn(b"\r", answer.body)
        self.assertEqual(self.files(), [])
        self.assertTrue(os.path.exists(outside))

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_K02_any_names_at_all(self, domain: str, selector: str) -> None:
        path = f"/v1/dkim/{quote(domain, safe='')}/{quote(selector, safe='')}"
        answer = self.ask("GET", path=path)
        self.assertIn(answer.status, (400, 404), path)

    def test_only_who_may_administer(self) -> None:
        for headers, peer in (
            ({"Origin": "http://evil.test"}, "127.0.0.1"), ({"Host": "evil.test"}, "127.0.0.1"),
            ({"Sec_Fetch_Site": "cross-site"}, "127.0.0.1"), ({}, "192.0.2.1"),
        ):  # fmt: skip
            self.rig = Rig(peer=peer, more=(KeysApi(self.keys, self, self.thread),))
            for method in ("PUT", "GET", "DELETE"):
                answer = self.ask(method, pem(RSA) if method == "PUT" else b"", **headers)
                self.assertEqual(answer.status, 403 if headers else 401, (headers, method))
        self.assertEqual(self.files(), [])

    def test_nothing_private_comes_out(self) -> None:
        """Whatever is done with a key, or fails to be."""
        answers = b""
        secrets: list[bytes] = []
        for key in (RSA, ED25519):
            body = pem(key)
            secrets += [line for line in body.splitlines() if not line.startswith(b"-----")]
            for method in ("PUT", "PUT", "GET", "DELETE", "DELETE"):
                answers += self.ask(method, body if method == "PUT" else b"").body
            answers += self.ask("PUT", body[:-40]).body + self.ask("PUT", b'{"' + body + b'": 1}').body
            answers += self.ask("PUT", body, path="/v1/dkim/x/a.b").body

            def broken(*_: object) -> None:
                raise RuntimeError("broken")

            broken_list = self.patch(os, "listdir", broken)
            answers += self.ask("PUT", body).body
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            broken_list.restore()
        said = "".join(self.said)
        self.assertIn("was put by the API", said)
        for secret in secrets:
            self.assertNotIn(secret[:16], answers)
            self.assertNotIn(secret[:16].decode("latin-1"), said)
