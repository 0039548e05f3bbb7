"""`zonerelay dkim`: keys that can sign and be verified, never one in the place of another; what the DNS lacks."""

from __future__ import annotations

import base64
import io
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.cli import dkim
from relay.cli.main import main
from relay.dkim import making
from relay.dkim.keyfile import load
from relay.dkim.names import key_name
from relay.dkim.record import faults, is_test
from relay.net.dns import NoSuchDomain, ServerFailure
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, put, records, signed, signer, verdicts
from tests.unit.test_cli_user import never

TEXT = b"From: a@example.test\r\n\r\nbody\r\n"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.keys = str(folder / "keys")
        self.config = folder / "zonerelay.toml"
        self.config.write_text('hostname = "relay.test"\n')
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def dkim(self, *words: str) -> int:
        return main(["dkim", *words, "--keys", self.keys, "--config", str(self.config)], never)


class New(Case):
    def test_what_is_printed_verifies_what_is_signed(self) -> None:
        os.mkdir(self.keys)
        for words in (("--selector", "One"), ("--algorithm", "ed25519"), ("--bits", "1024")):
            self.assertEqual(self.dkim("new", "Example.test", *words), 0)
        said = self.out.getvalue()
        names = re.findall(r"(?m)^name:  (.*)$", said)
        values = re.findall(r"(?m)^value: (.*)$", said)
        self.assertEqual(names[0], "one._domainkey.example.test")
        message = signed(signer(self.keys), TEXT)[1]
        self.assertEqual(verdicts(message, dict(zip(names, values, strict=True))), [True] * 3)
        for number, zone in enumerate(re.findall(r"(?s)\(\n(.*?)\n\)", said)):
            strings = re.findall(r'"([^"]*)"', zone)
            self.assertLessEqual(max(map(len, strings)), 255)
            self.assertEqual("".join(strings), values[number])

    def test_only_its_owner_can_read_it(self) -> None:
        self.dkim("new", "example.test", "--algorithm", "ed25519", "--selector", "s")
        (path,) = Path(self.keys).iterdir()
        self.assertEqual((path.name, stat.S_IMODE(path.stat().st_mode)), ("example.test.s.pem", 0o600))
        self.assertEqual(stat.S_IMODE(Path(self.keys).stat().st_mode), 0o700)

    def test_none_is_overwritten(self) -> None:
        for file in ("example.test.s.pem", "Example.TEST.S.pem"):
            path = put(self.keys, file, b"precious")
            self.assertEqual(self.dkim("new", "example.test", "--selector", "s"), 1)
            self.assertEqual(Path(path).read_bytes(), b"precious")
            self.assertEqual(os.listdir(self.keys), [file])
            os.remove(path)
        self.assertRegex(self.err.getvalue(), "is there already")

    def test_none_is_overwritten_that_comes_meanwhile(self) -> None:
        os.mkdir(self.keys)
        self.patch(os, "listdir", lambda path: [])
        put(self.keys, "example.test.s.pem", b"precious")
        key = making.make("ed25519")
        self.assertRaises(FileExistsError, making.keep, key, self.keys, key_name("example.test", "s"))

    def test_nothing_is_left_of_what_failed(self) -> None:
        os.mkdir(self.keys)

        def full(number: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertEqual(self.dkim("new", "example.test"), 1)
        self.assertEqual(os.listdir(self.keys), [])
        self.assertRegex(self.err.getvalue(), "No space left")

    def test_K02_names_that_are_none(self) -> None:
        os.mkdir(self.keys)
        for words in (
            ("../../etc/passwd",), ("a/b",), ("a" * 300,), ("",), ("a b",), ("[192.0.2.1]",), ("a\0b",),
            ("x.test", "--selector", "../s"), ("x.test", "--selector", "s.t"), ("x.test", "--selector", "s/"),
            ("x.test", "--bits", "512"), ("x.test", "--bits", "99999"),
            ("x.test", "--algorithm", "ed25519", "--bits", "2048"),
        ):  # fmt: skip
            self.assertEqual(self.dkim("new", *words), 1, words)
            self.assertEqual((self.out.getvalue(), os.listdir(self.keys)), ("", []))
            self.assertTrue(self.err.getvalue().startswith("zonerelay: "))

    def test_an_international_domain(self) -> None:
        self.assertEqual(self.dkim("new", "b\u00fccher.test", "--algorithm", "ed25519", "--selector", "s"), 0)
        self.assertEqual(os.listdir(self.keys), ["xn--bcher-kva.test.s.pem"])


class Check(Case):
    def setUp(self) -> None:
        super().setUp()
        os.mkdir(self.keys)
        self.published: dict[str, list[str] | Exception] = {}
        case = self

        class FakeDns:
            def __init__(self, reactor: object, config: object) -> None:
                pass

            async def txt(self, name: str) -> list[str]:
                found = case.published.get(name, NoSuchDomain(f"{name} does not exist"))
                if isinstance(found, Exception):
                    raise found
                return found

        def react(work: Callable[[Any], Deferred[None]]) -> None:
            self.successResultOf(work(None))
            raise SystemExit(0)

        self.patch(dkim, "Resolver", FakeDns)
        self.patch(dkim, "react", react)

    def check(self, *words: str) -> tuple[int, str]:
        self.out.truncate(0)
        self.out.seek(0)
        return self.dkim("check", *words), self.out.getvalue()

    def test_all_is_well(self) -> None:
        put(self.keys, "example.test.s1.pem", rsa.generate_private_key(65537, 2048))
        put(self.keys, "other.test.s1.pem", ED25519)
        self.published = {name: [text] for name, text in records(self.keys).items()}
        self.assertEqual(self.check(), (0, "example.test.s1.pem: ok\nother.test.s1.pem: ok\n"))
        self.assertEqual(self.check("OTHER.test"), (0, "other.test.s1.pem: ok\n"))

    def test_what_is_wrong(self) -> None:
        put(self.keys, "example.test.s1.pem", RSA)
        put(self.keys, "example.test.s2.pem", ED25519)
        put(self.keys, "example.test.s3.pem", b"")
        put(self.keys, "nobody.pem", RSA)
        self.published["s1._domainkey.example.test"] = ServerFailure("name server says SERVFAIL")
        code, said = self.check()
        self.assertEqual(code, 1)
        for line in (
            "nobody.pem: its name isn't DOMAIN.SELECTOR.pem, so that nobody signs with it",
            "example.test.s3.pem: it is empty",
            "example.test.s1.pem: the DNS can't tell: name server says SERVFAIL",
            "example.test.s2.pem: s2._domainkey.example.test: there is no TXT record",
            "    expected: v=DKIM1; k=ed25519; p=",
        ):
            self.assertIn(line, said)
        self.assertEqual(self.check("none.test"), (1, f"none.test: it has no key in {self.keys}\n"))

    def test_a_domain_that_has_to_sign(self) -> None:
        self.config.write_text('hostname = "relay.test"\n[dkim]\nrequired_domains = ["Must.test"]\narc = "arc.test"\n')
        lines = [f"{domain}.test: it has no key in {self.keys}\n" for domain in ("must", "arc")]
        self.assertEqual(self.check(), (1, "".join(lines)))

    def test_what_receivers_would_not_take(self) -> None:
        """A tag twice is no list of tags to some (RFC 6376 3.2); here an independent verifier says so."""
        put(self.keys, "example.test.s1.pem", RSA)
        self.published = {name: [f"{text}; n=a; n=b"] for name, text in records(self.keys).items()}
        code, said = self.check()
        self.assertEqual(code, 1)
        self.assertIn("s1._domainkey.example.test: dkimpy does not verify a signature by it: ", said)

    def test_doubts(self) -> None:
        path = put(self.keys, "example.test.s1.pem", RSA)
        os.chmod(path, 0o644)
        self.published = {name: [f"{text}; t=y"] for name, text in records(self.keys).items()}
        code, said = self.check()
        self.assertEqual(code, 0)
        self.assertRegex(said, r"ok; everybody can read the file; .*; 1024 bits are few; .*; the record says t=y")


class Records(SynchronousTestCase):
    def setUp(self) -> None:
        directory = self.mktemp()
        self.key = load(put(directory, "k", RSA))
        self.other = load(put(directory, "k", OTHER_RSA))
        self.ed = load(put(directory, "k", ED25519))

    def test_faults(self) -> None:
        text = self.key.record()
        p = text.partition("p=")[2]
        bare = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        for texts, words in (
            ([text], ""), ([f"p={p}"], ""), ([f"v=DKIM1;p={p[:20]} {p[20:]};"], ""), ([text, "v=spf1 -all"], ""),
            ([f"v=DKIM1; p={base64.b64encode(bare).decode()}"], ""), ([text + "; h=sha1:sha256; s=email; t=s"], ""),
            ([], "there is no TXT"), (["v=spf1 -all"], "one for DKIM"), ([text, text], "2 records"),
            (["v=DKIM1; p="], "revoked"), (["v=DKIM1; k=rsa"], "p= is missing"),
            ([f"k=ed25519; p={p}"], "k= is ed25519"),
            ([self.other.record()], "another key"), (["v=DKIM1; p=!"], "no base64"),
            ([text + "; h=sha1"], "h= is sha1"),
            ([text + "; s=tlsrpt"], "s= is tlsrpt"), ([f"v=DKIM2; p={p}"], "one for DKIM"),
            (["garbage"], "one for DKIM"),
            ([""], "one for DKIM"), ([self.ed.record()], "k= is ed25519"),
        ):  # fmt: skip
            found = "; ".join(faults(self.key, texts))
            self.assertTrue(words in found if words else not found, (texts, found))
        self.assertEqual(faults(self.ed, [self.ed.record()]), [])
        self.assertEqual((is_test([text]), is_test([text + "; t=s:y"])), (False, True))
