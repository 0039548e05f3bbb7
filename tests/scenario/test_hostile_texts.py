"""Hostile messages: false ends, bare line ends, headers that want to be something else.

Rows S01-S05, S31-S35, S51. What the MX took is read back: the question is not only what was said.
"""

from __future__ import annotations

import re
import time

from bench.proctree import rss
from tests.scenario.hostile import Hostile

#: What some server somewhere takes for the end of a message. The first group holds a line end or
#: a NUL that no message may have; the second is text like any other (RFC 5321 2.3.8, 4.1.1.4).
FALSE_ENDS = {
    "lf.lf": b"\n.\n",
    "lf.crlf": b"\n.\r\n",
    "crlf.lf": b"\r\n.\n",
    "cr.cr": b"\r.\r",
    "crlf.cr": b"\r\n.\r",
    "cr.crlf": b"\r.\r\n",
    "lf.cr": b"\n.\r",
    "crcrlf": b"\r\r\n.\r\r\n",
}
NULS = {"nul-dot": b"\r\n\0.\r\n", "dot-nul": b"\r\n.\0\r\n"}
CLEAN = {
    "dot-space": b"\r\n. \r\n",
    "dot-dot": b"\r\n..\r\n",
    "vt": b"\r\n.\x0b\r\n",
    "ff": b"\r\n.\x0c\r\n",
    "fs": b"\r\n.\x1c\r\n",
    "nel": b"\r\n.\x85\r\n",
    "nel-utf8": "\r\n.\x85\r\n".encode(),
    "ls": "\r\n.\u2028\r\n".encode(),
}
HIDDEN = (
    b"MAIL FROM:<hidden@src.test>\r\nRCPT TO:<ok+hidden@evil.test>\r\nDATA\r\n"
    b"X-Audit-Id: hidden\r\n\r\nhidden\r\n"
)
HEAD = b"From: <from@src.test>\r\nSubject: x\r\n"
MIB = 1 << 20


class Smuggling(Hostile):
    listeners = {"normal": 'bare_newlines = "normalize"', "receivers": "processes = 2"}

    def smuggle(self, listener: str, ends: dict[str, bytes]) -> dict[str, str]:
        """One message per false end, a transaction hidden behind each; the verdicts' codes."""
        return {
            name: self.message(f"{listener}-{name}", HEAD + b"\r\nhello" + end + HIDDEN, listener)[:3]
            for name, end in ends.items()
        }

    def test_S01_refused(self) -> None:
        """In the master, and in receivers."""
        ends = {**FALSE_ENDS, **NULS}
        for listener in ("feeder", "receivers"):
            self.assertEqual(dict.fromkeys(ends, "554"), self.smuggle(listener, ends))
            self.settle()
            for name in ends:
                self.assertEqual([], self.to(f"{listener}-{name}"))

    def test_S01_S02_text_like_any_other(self) -> None:
        """What is hidden arrives as text of the one message, with every dot stuffed on the wire."""
        for listener in ("feeder", "receivers"):
            self.assertEqual(dict.fromkeys(CLEAN, "250"), self.smuggle(listener, CLEAN))
            for name, end in CLEAN.items():
                body = self.text(f"{listener}-{name}").partition(b"\r\n\r\n")[2]
                self.assertEqual(b"hello" + end.replace(b"\r\n.", b"\r\n", 1) + HIDDEN, body, (listener, name))

    def test_S01_S02_normalized(self) -> None:
        """Every CR and LF becomes CRLF, and what is hidden stays text."""
        self.assertEqual(dict.fromkeys(NULS, "554"), self.smuggle("normal", NULS))
        self.assertEqual(dict.fromkeys(FALSE_ENDS, "250"), self.smuggle("normal", FALSE_ENDS))
        for name in FALSE_ENDS:
            body = self.text(f"normal-{name}").partition(b"\r\n\r\n")[2]
            # A dot behind a true line end is a stuffed one.
            text = b"hello" + FALSE_ENDS[name].replace(b"\r\n.", b"\r\n") + HIDDEN
            self.assertEqual(re.sub(rb"\r\n|\r|\n", b"\r\n", text), body, name)

    def test_S01_by_chunks(self) -> None:
        """BDAT counts octets, so no end can be false; what may not be in a text is refused all the same."""
        for name, end in FALSE_ENDS.items():
            text = HEAD + b"\r\nhello" + end + HIDDEN + b".\r\n"
            with self.begun(f"chunk-{name}") as client:
                answers = client.replies(b"BDAT %d LAST\r\n%bQUIT\r\n" % (len(text), text))
            self.assertEqual(["554", "221"], [answer[:3] for answer in answers], name)
        with self.begun("chunk") as client:
            text = HEAD + b"\r\nhello\r\n.\r\n" + HIDDEN + b".\r\n"
            answers = client.replies(b"BDAT %d LAST\r\n%bQUIT\r\n" % (len(text), text))
            self.assertEqual(["250", "221"], [answer[:3] for answer in answers])
        self.assertTrue(self.text("chunk").endswith(b"\r\nhello\r\n.\r\n" + HIDDEN + b".\r\n"))

    def test_S03_the_end_in_five_segments(self) -> None:
        """Each is read before the next is sent: who spoke later has been answered, and once more."""
        with self.begun("five") as client, self.session() as other:
            self.assertEqual("354", client.tell(b"DATA")[:3])
            for part in (HEAD + b"\r\nhello", b"\r", b"\n", b".", b"\r", b"\n"):
                client.write(part)
                self.assertEqual(["250", "250"], [other.tell(b"NOOP")[:3] for _ in range(2)])
            self.assertEqual(["250", "221"], [answer[:3] for answer in client.replies(b"QUIT\r\n")])
        self.assertTrue(self.text("five").endswith(b"\r\n\r\nhello\r\n"))

    def test_S04_empty(self) -> None:
        self.assertEqual("250", self.message("empty", b"")[:3])
        self.assertIn(b"\r\nMessage-ID: <", self.text("empty"))

    def test_S05_the_text_before_354(self) -> None:
        """All in one packet. Where DATA is accepted it is the text; where it isn't, the session is over."""
        text = HEAD + b"\r\n" + HIDDEN + b".\r\n"
        client = self.session()
        envelope = b"MAIL FROM:<from@src.test>\r\nRCPT TO:<ok+early@evil.test>\r\nDATA\r\n"
        answers = client.replies(envelope + text + b"QUIT\r\n")
        self.assertEqual(["250", "250", "354", "250", "221"], [answer[:3] for answer in answers])
        self.assertTrue(self.text("early").endswith(b"\r\n\r\n" + HIDDEN))
        client = self.session()
        envelope = b"MAIL FROM:<from@src.test>\r\nRCPT TO:<root@localhost>\r\nDATA\r\n"
        answers = client.replies(envelope + text + b"QUIT\r\n")
        self.assertEqual(["250", "550", "503", "421"], [answer[:3] for answer in answers])
        self.assertTrue(client.ended)


class Texts(Hostile):
    listeners = {"normal": 'bare_newlines = "normalize"'}

    def test_S31_odd_bodies(self) -> None:
        """One verdict for each, and what is taken leaves clean."""
        parts = b"".join(
            b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(2000)
        )
        bodies = {
            "nul": (HEAD + b"\r\na\0b\r\n", "554"),
            "bare-cr": (HEAD + b"\r\na\rb\r\n", "554"),
            "bare-lf": (HEAD + b"\r\na\nb\r\n", "554"),
            "8bit": (HEAD + b"\r\n" + bytes(range(0x80, 0x100)) + b"\r\n", "250"),
            "nested": (HEAD + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + parts, "250"),
            "line-2MiB": (HEAD + b"\r\n" + b"x" * (2 * MIB) + b"\r\n", "554"),
            "line-60k": (HEAD + b"\r\n" + b"x" * 60_000 + b"\r\n", "250"),
            "dots": (HEAD + b"\r\n" + b"..\r\n" * 50_000, "250"),
        }
        before = rss(self.relay.master())
        self.assertEqual(
            {name: code for name, (_, code) in bodies.items()},
            {name: self.message(f"body-{name}", text)[:3] for name, (text, _) in bodies.items()},
        )
        self.assertLess(rss(self.relay.master()) - before, 32 * MIB)
        self.settle()
        for name, (_, code) in bodies.items():
            self.assertEqual(code == "250", len(self.to(f"body-{name}")) == 1, name)
        self.assertTrue(self.text("body-8bit").endswith(b"\r\n\r\n" + bytes(range(0x80, 0x100)) + b"\r\n"))
        self.assertEqual(60_000, self.text("body-line-60k").partition(b"\r\n\r\n")[2].count(b"x"))
        self.assertTrue(self.text("body-dots").endswith(b"\r\n\r\n" + b".\r\n" * 50_000))

    def test_S31_eight_bit_undeclared(self) -> None:
        """Eight-bit text that MAIL hasn't declared is taken, and declared to the next hop."""
        client = self.session()
        client.tell(b"MAIL FROM:<from@src.test>")
        client.tell(b"RCPT TO:<ok+undeclared@evil.test>")
        self.assertEqual("250", self.data(client, HEAD + "\r\nGrüße\r\n.\r\n".encode())[:3])
        self.assertIn("Grüße".encode(), self.text("undeclared"))

    def test_S32_odd_headers(self) -> None:
        """One verdict each, at once, and bounded memory."""
        people = b",\r\n ".join(b"<person%d@example.test>" % n for n in range(20_000))
        headers = {
            "line-200k": (b"X-Long: " + b"word " * 40_000 + b"\r\n", "554"),
            "line-60k": (b"X-Long: " + b"word " * 12_000 + b"\r\n", "250"),
            "line-60k-no-blank": (b"X-Long: " + b"w" * 60_000 + b"\r\n", "554"),
            "lines-20000": (b"".join(b"X-Many-%d: x\r\n" % n for n in range(20_000)), "250"),
            "to-20000": (b"To: " + people + b"\r\n", "250"),
            "folds-30000": (b"X-Folded: x" + b"\r\n x" * 30_000 + b"\r\n", "250"),
            "over-1MB": (b"X-Many: xxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n" * 40_000, "552"),
            "invalid": (b"this is no header at all\r\n", "250"),
            "colon-first": (b": nothing\r\n", "250"),
            "raw-8bit": (b"Subject: \xff\xfe\x80 \xc3\x28\r\n", "250"),
            "bad-encoded-word": (b"Subject: =?utf-8?q?=ZZ=?= =?nonsense?b?!!!?= =?utf-8?b?/w==?=\r\n", "250"),
            "boundary-900": (b"Content-Type: multipart/mixed; boundary=" + b"b" * 900 + b"\r\n", "250"),
            "bad-date": (b"Date: Sun, 99 Foo 99999 99:99:99 +9999\r\n", "250"),
        }
        before = rss(self.relay.master())
        for name, (header, code) in headers.items():
            begun = time.monotonic()
            self.assertEqual(code, self.message(f"head-{name}", header + HEAD + b"\r\nhello\r\n")[:3], name)
            self.assertLess(time.monotonic() - begun, 15, f"{name} took too long")
        self.assertLess(rss(self.relay.master()) - before, 64 * MIB)
        self.settle()
        for name, (_, code) in headers.items():
            self.assertEqual(code == "250", len(self.to(f"head-{name}")) == 1, name)
        self.assertEqual(12_000, self.text("head-line-60k").count(b"word"))
        self.assertEqual(20_000, self.text("head-lines-20000").count(b"\r\nX-Many-"))

    def test_S33_a_field_behind_a_bare_line_end(self) -> None:
        """Refused, even where bare line ends of the body are mended."""
        for listener in ("feeder", "normal"):
            for name, end in (("cr", b"\r"), ("lf", b"\n"), ("crcrlf", b"\r\r\n")):
                header = b"Subject: x" + end + b"Bcc: <ok+hidden@evil.test>\r\n"
                verdict = self.message(f"field-{listener}-{name}", header + b"\r\nhello\r\n", listener)
                self.assertEqual("554 5.6.0", verdict[:9], (listener, name))

    def test_S34_forged_signatures(self) -> None:
        """Fifty of them, of odd domains: they mean nothing to us and leave as they came."""
        forged = b"".join(
            b"DKIM-Signature: v=1; a=rsa-sha256; d=%b; s=s%d;\r\n h=from; bh=AAAA; b=%b\r\n"
            % ((b"a" * 300, b"..", b"xn--\xff", b"")[n % 4], n, b"A" * 400)
            for n in range(50)
        )
        self.assertEqual("250", self.message("forged", forged + HEAD + b"\r\nhello\r\n")[:3])
        self.assertIn(forged + HEAD, self.text("forged"))

    def test_S35_a_hundred_and_twenty_hops(self) -> None:
        hop = b"Received: from a.test by b.test; Sun, 22 Nov 2026 03:58:10 +0000\r\n"
        self.assertEqual("554 5.4.6", self.message("hops-120", hop * 120 + HEAD + b"\r\nround\r\n")[:9])
        self.assertEqual("250", self.message("hops-35", hop * 35 + HEAD + b"\r\nround\r\n")[:3])
        self.assertEqual(36, self.text("hops-35").count(b"Received: "))
        self.assertEqual([], self.to("hops-120"))

    def test_S51_fields_that_mean_something_to_us(self) -> None:
        """What would steer the queue, or show who wasn't to be seen, is taken away; the rest stays."""
        stays = (
            b"Received: from forged.test by relay.test; Sun, 22 Nov 2026 03:58:10 +0000\r\n"
            b"X-Zone-Spam-Status: No\r\nX-FBL: 1\r\n"
        )
        goes = b"".join(
            b"%b: %b\r\n" % field
            for field in (
                (b"Bcc", b"<ok+hidden@evil.test>"),
                (b"bcc ", b"<ok+hidden@evil.test>"),
                (b"Resent-Bcc", b"<ok+hidden@evil.test>,\r\n <ok+hidden@bare.test>"),
                (b"Return-Path", b"<hidden@src.test>"),
                (b"X-Sending-Zone", b"bare"),
                (b"X-Idempotency-Key", b"hidden-key"),
            )
        )
        self.assertEqual("250", self.message("fields", stays + goes + HEAD + b"\r\nhello\r\n")[:3])
        text = self.text("fields")
        self.assertIn(stays + HEAD, text)
        self.assertNotIn(b"idden", text)
        self.assertNotIn(b"X-Sending-Zone", text)
        [taken] = self.to("fields")
        self.assertEqual((None, "from@src.test"), (taken["beh"], taken["from"]))
