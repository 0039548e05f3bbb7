"""By which keys a message is signed, and how the field is written."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Dkim
from relay.dkim.author import author_domain
from relay.dkim.keys import KeyIndex
from relay.dkim.need import is_hashed
from relay.message.headers import HeaderBlock
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, Timeless, put, records, signed, signer, verdicts

TEXT = b"From: A <a@example.test>\r\nSubject: s\r\n\r\nbody\r\n"


def froms(*values: bytes) -> HeaderBlock:
    return HeaderBlock(b"".join(b"From:" + value + b"\r\n" for value in values))


class Author(SynchronousTestCase):
    def check(self, values: tuple[bytes, ...], domain: str, sender: str = "x@envelope.test") -> None:
        self.assertEqual(author_domain(froms(*values), sender), domain, values)

    def test_K04_one_author(self) -> None:
        for value in (
            b" a@good.test", b"a@GOOD.test", b" <a@good.test>", b' "b@evil.test" <a@good.test>',
            b" a@good.test (b@evil.test)", b' "Co <a@good.test>', b"\r\n A\r\n\t<a@good.test>",
            b" A B. C <a@good.test>", b" G: a@good.test;", b" G:a@good.test,b@good.test;",
            b" a@good.test, b@good.test", b" \xc3\xbc <a@good.test>",
            b" \xff\xfe <a@good.test>", b" \xc3\xbc@good.test",
            b' "a\\"b" <a@good.test>', b" Co, Inc. <a@good.test>", b" Re: all <a@good.test>", b" (x(y)z) a@good.test",
            b" <@evil.test:a@good.test>", b" a @ good.test", b" =?utf-8?q?b=40evil.test?= <a@good.test>",
        ):  # fmt: skip
            self.check((value,), "good.test")
        self.check(("\u00fc <a@b\u00fccher.test>".encode(),), "xn--bcher-kva.test")
        self.check((b" a@good.test", b"b@good.test"), "good.test")

    def test_K04_nobody_is_the_sender(self) -> None:
        for values in ((), (b"",), (b" ",), (b" undisclosed:;",), (b"\r\n ",)):
            self.check(values, "envelope.test")
            self.check(values, "", "")
        self.check((), "", "postmaster")

    def test_K04_whoever_is_not_certain_does_not_sign(self) -> None:
        """Neither by the one nor by the other, nor by the envelope's sender."""
        for values in (
            (b" a@good.test, b@evil.test",), (b" a@good.test", b" b@evil.test"), (b" <a@good.test> b@evil.test",),
            (b" a@good.test <b@evil.test>, <c",), (b" a@good.test@evil.test",), (b' "a@good.test',),
            (b" (a@good.test",),            (b" a@good.test b",), (b" <a@good.test",), (b" a@[192.0.2.1]",),
            (b" a@good..test",), (b" a@-good.test",),
            (b" a@good.test/../../etc",), (b" a@\xff.test",), (b" nobody",), (b" a@good.test;x",),
            (b" " + b"x," * 9000,), (b" x <a@good.test> b <c>",), (b" " + b"a@good.test, " * 30,),
            (b" a@good.test\0",), (b" a@.",), (b" <>",),
        ):  # fmt: skip
            self.check(values, "")


class Choosing(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        put(self.directory, "example.test.s1.pem", RSA)

    def domains(self, fields: bytes) -> list[str]:
        return re.findall(r" d=([^;]+);", fields.decode())

    def test_each_selector_signs(self) -> None:
        put(self.directory, "example.test.s2.pem", OTHER_RSA)
        put(self.directory, "example.test.ed.pem", ED25519)
        put(self.directory, "other.test.s1.pem", OTHER_RSA)
        result, message = signed(signer(self.directory), TEXT)
        self.assertEqual([name.selector for name, _ in result.tried], ["ed", "s1", "s2"])
        self.assertEqual(verdicts(message, records(self.directory)), [True] * 3)

    def test_nobodys_mail(self) -> None:
        for text in (TEXT.replace(b"example", b"sub.example"), TEXT.replace(b"example.test", b"test")):
            by = signer(self.directory)
            self.assertFalse(by.concerns(HeaderBlock(text.partition(b"\r\n\r\n")[0] + b"\r\n")))
            self.assertEqual(signed(by, text)[0], (b"", (), ""))

    def test_no_keys_no_look_at_the_header(self) -> None:
        by = signer(self.mktemp())
        block = HeaderBlock(TEXT)
        self.assertFalse(by.concerns(block))
        self.assertEqual(block._index, None)

    def test_the_host_signs_too(self) -> None:
        put(self.directory, "out.test.s1.pem", OTHER_RSA)
        by = signer(self.directory, sign_transport_domain=True)
        published = records(self.directory)
        for host, text, domains in (
            ("out.test", TEXT, ["example.test", "out.test"]),
            ("MX1.eu.out.test", TEXT, ["example.test", "out.test"]),
            ("out.test", TEXT.replace(b"example", b"other"), ["out.test"]),
            ("a.example.test", TEXT, ["example.test"]),
            ("elsewhere.test", TEXT, ["example.test"]),
            ("", TEXT, ["example.test"]),
        ):
            result, message = signed(by, text, host=host)
            self.assertEqual(self.domains(result.fields), domains)
            self.assertEqual(verdicts(message, published), [True] * len(domains))

    def test_K01_K03_never_in_silence(self) -> None:
        path = put(self.directory, "example.test.s1.pem", b"")
        self.assertEqual(signed(signer(self.directory), TEXT)[0].unsigned, "example.test.s1.pem: it is empty")
        put(self.directory, "example.test.s2.pem", RSA)
        result, message = signed(signer(self.directory), TEXT)
        self.assertEqual((result.unsigned, [reason for _, reason in result.tried]), ("", ["it is empty", ""]))
        self.assertEqual(verdicts(message, records_of_good(self.directory)), [True])
        os.remove(f"{self.directory}/example.test.s2.pem")
        by = signer(self.directory)
        keys = by.keys()
        os.remove(path)
        plan = by.plan(keys, HeaderBlock(TEXT), "", "", True)
        self.assertEqual(by.sign(plan, HeaderBlock(TEXT), bytes(32)).unsigned, "example.test.s1.pem: it is gone")
        by = signer(self.directory)
        self.assertEqual(signed(by, TEXT, hashed=True)[0].unsigned, "example.test has no key any more")
        self.assertEqual(signed(by, TEXT, hashed=False)[0].unsigned, "")

    def test_K01_a_key_that_has_to_be(self) -> None:
        by = signer(self.mktemp(), required_domains=("Example.test",))
        self.assertTrue(by.concerns(HeaderBlock(TEXT)))
        self.assertRegex(signed(by, TEXT)[0].unsigned, "example.test has no key, and is in required_domains")
        self.assertFalse(by.concerns(HeaderBlock(TEXT.replace(b"example", b"other"))))

    def test_K02_no_name_from_a_message_is_opened(self) -> None:
        opened = []
        by = signer(self.directory)
        self.patch(os, "open", lambda *told: opened.append(told))
        self.patch(os, "stat", lambda *told: opened.append(told))
        for domain in (b"../../etc/passwd", b"a/b", b"x" * 300, b"..", b"example.test/", b"example.test\0"):
            keys = by._index._keys
            block = froms(b" a@" + domain)
            plan = by.plan(keys, block, "a@" + domain.decode(), "../../etc", True)
            self.assertEqual(plan.domains, ())
            self.assertEqual(by.sign(plan, block, bytes(32)).fields, b"")
        self.assertEqual(opened, [])

    def test_what_is_hashed_when_it_comes(self) -> None:
        index = KeyIndex(self.directory, Timeless())
        host, simple = Dkim(sign_transport_domain=True), Dkim(canonicalization="relaxed/simple")
        for options, value, hashed in (
            (Dkim(), b" a@example.test", True), (Dkim(), b" a@other.test", False), (Dkim(), b"", True),
            (Dkim(), "a@b\u00fc.test".encode(), True), (host, b" a@other.test", True),
            (simple, b" a@example.test", False),
        ):  # fmt: skip
            self.assertEqual(is_hashed(index, froms(value), options), hashed, value)
        self.assertFalse(is_hashed(KeyIndex(self.mktemp(), Timeless()), froms(b""), host))


def records_of_good(directory: str) -> dict[str, str]:
    os.remove(f"{directory}/example.test.s1.pem")
    found = records(directory)
    put(directory, "example.test.s1.pem", b"")
    return found


class Written(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        put(self.directory, "example.test.s1.pem", RSA)

    def test_tags_in_their_order(self) -> None:
        for options, tags in (
            ({}, "v a c d q s bh h b"),
            ({"timestamp": True}, "v a c d q s t bh h b"),
            ({"timestamp": True, "expire": 86400.0}, "v a c d q s t x bh h b"),
        ):
            fields = signed(signer(self.directory, 1_700_000_000_999, **options), TEXT)[0].fields
            value = fields.replace(b"\r\n ", b" ").partition(b":")[2].decode()
            self.assertEqual([tag.partition("=")[0].strip() for tag in value.split(";")], tags.split())
            self.assertEqual(" t=1700000000; " in value, "timestamp" in options)
            self.assertEqual(" x=1700086400; " in value, "expire" in options)

    def test_folded_at_76(self) -> None:
        for number in range(1, 60):
            domain = "d" * number + ".test"
            put(self.directory, f"{domain}.s1.pem", RSA)
            text = TEXT.replace(b"example.test", domain.encode())
            result, message = signed(signer(self.directory), text)
            lines = result.fields.split(b"\r\n")
            self.assertLessEqual(max(map(len, lines)), 76)
            self.assertTrue(all(line[:1] == b" " and line.strip() for line in lines[1:-1]))
            self.assertEqual(lines[-1], b"")
            self.assertEqual(verdicts(message, records(self.directory)), [True])
        long = ".".join(["d" * 60] * 3)
        put(self.directory, f"{long}.s1.pem", RSA)
        message = signed(signer(self.directory), TEXT.replace(b"example.test", long.encode()))[1]
        self.assertEqual(verdicts(message, records(self.directory)), [True])

    def test_what_is_kept_ready_has_nothing_of_the_message_before(self) -> None:
        """Fields of the same tags differ by the hash of the body, those of keys and times by more."""
        put(self.directory, "other.test.s1.pem", OTHER_RSA)
        put(self.directory, "other.test.s2.pem", ED25519)
        published = records(self.directory)
        for form in ("relaxed/relaxed", "simple/simple"):
            for now in (1_700_000_000_000, 1_700_000_001_000):
                by = signer(self.directory, now, canonicalization=form, timestamp=True)
                for text in (TEXT, TEXT + b"More.\r\n", TEXT.replace(b"example", b"other"), TEXT):
                    result, message = signed(by, text)
                    self.assertEqual(verdicts(message, published), [True] * len(result.tried))
                    self.assertEqual(result.fields.count(b" t=%d;" % (now // 1000)), len(result.tried))
                    self.assertTrue(result.fields.isascii() and b"\0" not in result.fields)

    def test_oversigned(self) -> None:
        for oversign, tag in (
            (("From", "Subject", "To"), b"h=from:from:subject:subject:to;"),
            (("from",), b"h=from:from:subject;"),
            ((), b"h=from:subject;"),
        ):
            result, message = signed(signer(self.directory, oversign=oversign), TEXT)
            self.assertIn(tag, result.fields.replace(b"\r\n ", b""))
            published = records(self.directory)
            self.assertEqual(verdicts(message, published), [True])
            more = message.replace(b"Subject", b"To: c@x.test\r\nSubject")
            self.assertEqual(verdicts(more, published), ["To" not in oversign])

    def test_a_flood_of_one_field(self) -> None:
        text = b"Subject: x\r\n" * 5000 + TEXT
        result, message = signed(signer(self.directory), text)
        self.assertLess(len(result.fields), 1200)
        self.assertEqual(verdicts(message, records(self.directory)), [True])

    def test_more_fields(self) -> None:
        text = b"X-Mine: 1\r\n" + TEXT
        result, message = signed(signer(self.directory, additional_header_fields=("X-Mine", "X-None")), text)
        self.assertIn(b":x-mine;", result.fields.replace(b"\r\n ", b""))
        self.assertEqual(verdicts(message.replace(b"Mine: 1", b"Mine: 2"), records(self.directory)), [False])
