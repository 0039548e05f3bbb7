"""Hostile commands: what strangers say before a message, instead of one, and out of order.

Rows S06-S30. Each test asks what was answered and what arrived.
"""

from __future__ import annotations

import random
import re

from bench.proctree import rss
from tests.scenario.hostile import Hostile

MIB = 1 << 20
TEXT = b"From: <from@src.test>\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
HIDDEN = b"MAIL FROM:<hidden@src.test>\r\nRCPT TO:<ok+hidden@evil.test>\r\nDATA\r\n"


class Words(Hostile):
    """Who can't speak, or speaks something else."""

    listeners = {"patient": 'greeting_delay = "400ms"'}

    def test_S06_two_thousand_noops(self) -> None:
        """Replies in order up to `max_commands`, then the end."""
        answers = self.session().replies(b"NOOP\r\n" * 2000)
        self.assertEqual({"250 2.0.0 OK"}, set(answers[:-1]))
        self.assertEqual("421 4.7.0 Error: too many commands", answers[-1])
        self.assertLess(len(answers), 1010)

    def test_S07_commands_with_a_bare_lf(self) -> None:
        """One refusal for what may be two commands."""
        for line in (b"NOOP\nRSET", b"NOOP\rRSET", b"EHLO a.test\nMAIL FROM:<hidden@src.test>"):
            with self.session() as client:
                answers = client.replies(line + b"\r\nQUIT\r\n")
                self.assertEqual(["500", "221"], [answer[:3] for answer in answers], line)

    def test_S08_a_command_without_end(self) -> None:
        """4 MiB of it: dropped, and what comes behind its end is a command again."""
        client = self.session()
        before = rss(self.relay.master())
        for _ in range(64):
            client.write(b"x" * 65536)
        self.assertLess(rss(self.relay.master()) - before, 8 * MIB)
        self.assertEqual("500 5.5.2 Error: command line too long", client.tell(b""))
        self.assertEqual("250", client.tell(b"NOOP")[:3])

    def test_S09_talk_before_the_greeting(self) -> None:
        """Where the greeting waits, the end of it; elsewhere the greeting comes first all the same."""
        hello = b"EHLO early.test\r\nQUIT\r\n"
        answers = self.connect("patient", greeted=False).replies(hello)
        self.assertEqual(["421 relay.test You talk too soon"], answers)
        answers = self.connect(greeted=False).replies(hello)
        self.assertEqual(["220", "250", "221"], [answer[:3] for answer in answers])
        self.assertEqual("220", self.connect("patient").greeting[:3])

    def test_S10_http(self) -> None:
        """The session ends at the first line, whatever SMTP comes behind it."""
        for request in (b"POST / HTTP/1.1", b"GET /send HTTP/1.0", b"PUT / HTTP/2", b"CONNECT relay.test:25 HTTP/1.1"):
            client = self.connect()
            body = b"EHLO a.test\r\n" + HIDDEN + TEXT
            answers = client.replies(b"%b\r\nHost: relay.test\r\nContent-Length: 999\r\n\r\n%b" % (request, body))
            self.assertEqual(["421 4.7.0 HTTP requests not allowed"], answers, request)

    def test_S11_other_protocols(self) -> None:
        """A TLS hello, 64 KiB of noise and SSH: refusals or the end, nothing is answered with 2xx or 3xx."""
        hello = bytes.fromhex("16030100f5010000f10303") + bytes(range(200))
        for data in (hello + b"\r\n", random.Random(11).randbytes(65536) + b"\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"):
            client = self.connect()
            answers = client.replies(data + b"QUIT\r\n")
            self.assertTrue(answers)
            if answers[-1].startswith("221"):
                answers.pop()
            self.assertEqual({"5"} if answers[-1][0] == "5" else {"5", "4"}, {answer[0] for answer in answers})

    def test_S25_hostile_words(self) -> None:
        """Too long, or fit to break out of a header or a log: refused. The log is looked at after each test."""
        client = self.connect()
        names = (b"<script>x</script>", b"a\x1b[2J\x1b]0;owned\x07", b"x" * 3000, b"a(b)c", b"a b", b"", b"\xff\xfe")
        self.refused(client, *(b"EHLO " + name for name in names))
        client.hello()
        self.refused(client, b"MAIL FROM:<" + b"a" * 65536 + b"@src.test>", b"MAIL FROM:<a@" + b"b." * 2000 + b"test>")

    def test_S30_three_hundred_bad_commands(self) -> None:
        """Cut off at the tenth that is none, the twentieth error, the fiftieth bad recipient."""
        answers = self.session().replies(b"JUNK\r\n" * 300)
        self.assertEqual((10, "421 4.7.0 Error: too many unrecognized commands"), (len(answers), answers[-1]))
        answers = self.session().replies(b"DATA\r\n" * 300)
        self.assertEqual(("503", "421"), (answers[0][:3], answers[-1][:3]))
        answers = self.session().replies(b"MAIL FROM:<a>\r\n" * 300)
        self.assertEqual((21, "421 4.7.0 Error: too many errors"), (len(answers), answers[-1]))
        answers = self.session().replies(b"RCPT TO:<a>\r\n" * 300)
        self.assertEqual((51, "421 4.7.0 Error: too many bad recipients"), (len(answers), answers[-1]))


class Envelopes(Hostile):
    """Addresses and parameters."""

    listeners = {"lenient": "max_errors = 100\nmax_bad_recipients = 100", "small": 'max_size = "100KB"'}

    def test_S12_S13_S16_S17_senders_that_are_none(self) -> None:
        self.refused(
            self.session("lenient"),
            b"MAIL FROM:<a@src.test>\rRCPT TO:<ok+hidden@evil.test>",
            b"MAIL FROM:<a\rb@src.test>",
            b"MAIL FROM:<a\0@src.test>",
            b"MAIL FROM:<a@src.test",
            b"MAIL FROM:a@src.test>",
            b"MAIL FROM:<a@src.test><b@src.test>",
            b"MAIL FROM:<a@src.test>,<b@src.test>",
            b"MAIL FROM:<a@src.test>junk",
            b"MAIL FROM <a@src.test>",
            b"MAIL a@src.test",
            b"MAIL",
            b"MAIL FROM:",
            b"MAIL FROM:<a@src.test> X-UNKNOWN=1",
            b"MAIL FROM:<a@src.test> BODY=BOGUS",
            b"MAIL FROM:<a@src.test> BODY=BINARYMIME",
            b"MAIL FROM:<a@src.test> BODY",
            "MAIL FROM:<é@src.test>".encode(),
            b"MAIL FROM:<\xff\xfe@src.test>",
            b"MAIL FROM:<\xff\xfe@src.test> SMTPUTF8",
            b"MAIL FROM:<\xed\xa0\x80@src.test> SMTPUTF8",
        )

    def test_S12_S17_S21_recipients_that_are_none(self) -> None:
        client = self.session("lenient")
        client.tell(b"MAIL FROM:<from@src.test>")
        self.refused(
            client,
            b"RCPT TO:<a@evil.test>\rRCPT TO:<ok+hidden@evil.test>",
            b"RCPT TO:<a@evil.test\0>",
            "RCPT TO:<é@evil.test>".encode(),
            b"RCPT TO:<\xff@evil.test>",
            b"RCPT TO:<>",
            b"RCPT TO:<a>",
            b"RCPT TO:<@evil.test>",
            b"RCPT TO:<a..b@evil.test>",
            b"RCPT TO:<.a@evil.test>",
            b"RCPT TO:<a@evil..test>",
            b"RCPT TO:<a@.evil.test>",
            b"RCPT TO:<a b@evil.test>",
            b"RCPT TO:<a@evil .test>",
            b"RCPT TO:<a@[evil.test>",
            b"RCPT TO:<a@[evil.test]>",
            b"RCPT TO:<a@" + b"d" * 300 + b">",
            b"RCPT TO:<a@" + b"d.e" * 100 + b".test>",
            b"RCPT TO:<a@../../etc/passwd>",
            b"RCPT TO:<a@evil.test/../x>",
            b"RCPT TO:<a@-evil.test>",
            b"RCPT TO:<" + b"a" * 65 + b"@evil.test>",
        )
        self.assertEqual("503", client.tell(b"DATA")[:3])

    def test_S14_sizes_that_are_none(self) -> None:
        client = self.session("lenient")
        sizes = (b"-1", b"abc", b"1.5", b"", b"0x10", b"+1", b"9" * 21, b"9" * 3000)
        self.refused(client, *(b"MAIL FROM:<a@src.test> SIZE=" + size for size in sizes))
        self.assertEqual("250", client.tell(b"MAIL FROM:<a@src.test> SIZE=100")[:3])

    def test_S15_the_size_that_was_said_and_the_true_one(self) -> None:
        """552 both times, and the session is in step: the next message goes through."""
        client = self.session("small")
        self.assertEqual("552 5.3.4", client.tell(b"MAIL FROM:<from@src.test> SIZE=102401")[:9])
        self.assertEqual("250", client.tell(b"MAIL FROM:<from@src.test> SIZE=10")[:3])
        self.assertEqual("250", client.tell(b"RCPT TO:<ok+oversize@evil.test>")[:3])
        text = b"Subject: x\r\n\r\n" + (b"RSET\r\n" * 20) + (b"y" * 70 + b"\r\n") * 2000 + b".\r\n"
        self.assertEqual("552 5.3.4", self.data(client, text)[:9])
        self.envelope(client, "fitting")
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        self.assertEqual((0, 1), (len(self.to("oversize")), len(self.to("fitting"))))

    def test_S18_no_way_for_utf8_addresses(self) -> None:
        """To a host without SMTPUTF8 it is bounced, not mangled; with it, it arrives as it was given."""
        for domain in ("bare.test", "evil.test"):
            client = self.session()
            self.assertEqual("250", client.tell("MAIL FROM:<дима@src.test> SMTPUTF8 BODY=8BITMIME".encode())[:3])
            self.assertEqual("250", client.tell(f"RCPT TO:<ok+почта@{domain}>".encode())[:3])
            self.assertEqual("250", self.data(client, "Subject: Привет\r\n\r\nx\r\n.\r\n".encode())[:3])
        self.settle()
        [taken] = self.to("почта")
        self.assertEqual(("дима@src.test", "ok+почта@evil.test"), (taken["from"], taken["rcpt"]))
        bounced = re.compile(r'(?m)^\S+ bounced .*@bare\.test>.* reply="5\.6\.7 ')
        self.until(lambda: bounced.search(self.relay.said()), "the bounce in the log")

    def test_S19_no_bounce_for_the_null_sender(self) -> None:
        client = self.session()
        self.assertEqual("250", client.tell(b"MAIL FROM:<>")[:3])
        self.assertEqual("250", client.tell(b"RCPT TO:<perm-rcpt+null@evil.test>")[:3])
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        refusals = [line for line in self.mx.seen() if "perm-rcpt+null@evil.test" in line.get("rcpts", ())]
        self.assertEqual([("refuse", "")], [(line["ev"], line["sender"]) for line in refusals])
        self.assertEqual([], [line for line in self.mx.accepted() if "null" in line["rcpt"] or not line["from"]])
        skipped = re.compile(r'(?m)^\S+ skipbounce id=\S+ kind=failure sender=<> reason="null sender"$')
        self.until(lambda: skipped.search(self.relay.said()), "the reason in the log")

    def test_S20_source_routes(self) -> None:
        """Taken away, never used: the mail goes where its last part says."""
        client = self.session()
        self.assertEqual("250", client.tell(b"MAIL FROM:<@bare.test,@[127.0.0.1]:from@src.test>")[:3])
        self.assertEqual("250", client.tell(b"RCPT TO:<@bare.test,@localhost:ok+route@evil.test>")[:3])
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        [taken] = self.to("route")
        self.assertEqual(("ok+route@evil.test", "from@src.test", None), (taken["rcpt"], taken["from"], taken["beh"]))

    def test_S22_local_parts_byte_for_byte(self) -> None:
        odd = (
            "user%bare.test@evil.test",
            "bare.test!user@evil.test",
            '"user@bare.test"@evil.test',
            '"a b;c,d"@evil.test',
            "a%0d%0aRCPT@evil.test",
            "|/bin/sh@evil.test",
            "-oQ/tmp@evil.test",
            "x`id`${IFS}@evil.test",
        )
        client = self.session("lenient")
        client.tell(b"MAIL FROM:<from@src.test>")
        taken = [one for one in odd if client.tell(f"RCPT TO:<{one}>".encode()).startswith("250")]
        self.assertIn(odd[0], taken)
        self.assertIn(odd[3], taken)
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        arrived = {line["rcpt"] for line in self.mx.accepted()}
        self.assertEqual([], [one for one in taken if one not in arrived])
        self.assertEqual([], [one for one in odd if one not in taken and one in arrived])

    def test_S23_no_way_to_our_own_network(self) -> None:
        client = self.session("lenient")
        client.tell(b"MAIL FROM:<from@src.test>")
        hosts = (
            "localhost", "LOCALHOST", "x.localhost", "localhost.localdomain", "[127.0.0.1]", "127.0.0.1", "[10.0.0.1]",
            "[169.254.169.254]", "[0.0.0.0]", "[IPv6:::1]", "[IPv6:::]", "[IPv6:::ffff:127.0.0.1]", "[IPv6:fe80::1]",
            "[IPv6:fc00::1]", "[192.168.1.1]", "[255.255.255.255]", "[224.0.0.1]", "[127.1]", "[0x7f000001]",
            "[2130706433]", "[IPv6:::127.0.0.1]", "[IPv6:64:ff9b::7f00:1]", "[IPv6:2002:7f00:1::]",
        )  # fmt: skip
        self.refused(client, *(f"RCPT TO:<root@{host}>".encode() for host in hosts))

    def test_S24_dsn_parameters(self) -> None:
        """What is no value is refused; what xtext hides never gets onto the wire raw."""
        client = self.session("lenient")
        self.refused(
            client,
            b"MAIL FROM:<a@src.test> RET=ALL",
            b"MAIL FROM:<a@src.test> RET=FULL RET=HDRS",
            b"MAIL FROM:<a@src.test> ENVID=a+0D+0ARCPT+20TO:<ok+2Bhidden@evil.test>",
            b"MAIL FROM:<a@src.test> ENVID=a+0a",
            b"MAIL FROM:<a@src.test> ENVID=a+",
            b"MAIL FROM:<a@src.test> ENVID=" + b"x" * 101,
        )
        self.assertEqual("250", client.tell(b"MAIL FROM:<from@src.test> RET=HDRS ENVID=a+2Bb")[:3])
        self.refused(
            client,
            b"RCPT TO:<a@evil.test> NOTIFY=SOMETIMES",
            b"RCPT TO:<a@evil.test> NOTIFY=NEVER,FAILURE",
            b"RCPT TO:<a@evil.test> NOTIFY=",
            b"RCPT TO:<a@evil.test> ORCPT=rfc822;a+0D+0AX-Evil:+20b",
            b"RCPT TO:<a@evil.test> ORCPT=a@evil.test",
        )
        self.assertEqual("250", client.tell(b"RCPT TO:<ok+dsn@evil.test> NOTIFY=FAILURE ORCPT=rfc822;b+2Ba@x.test")[:3])
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        self.assertEqual(1, len(self.to("dsn")))

    def test_S27_one_recipient_a_hundred_times(self) -> None:
        """In whatever case: one delivery, and the last spelling counts."""
        client = self.session()
        client.tell(b"MAIL FROM:<from@src.test>")
        for spelling in (b"ok+hundred@evil.test", b"OK+Hundred@EVIL.test") * 50:
            self.assertEqual("250", client.tell(b"RCPT TO:<%b>" % spelling)[:3])
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.settle()
        arrived = [line["rcpt"] for line in self.mx.accepted() if "hundred" in line["rcpt"].lower()]
        self.assertEqual(["OK+Hundred@evil.test"], arrived)

    def test_S28_out_of_order(self) -> None:
        """503, and neither RSET nor EHLO leaves anything of a transaction."""
        with self.connect() as client:
            for line in (b"MAIL FROM:<a@src.test>", b"RCPT TO:<a@evil.test>", b"DATA", b"BDAT 0 LAST"):
                self.assertEqual("503", client.tell(line)[:3])
            client.hello()
            for line in (b"RCPT TO:<a@evil.test>", b"DATA"):
                self.assertEqual("503", client.tell(line)[:3])
            self.assertEqual("250", client.tell(b"MAIL FROM:<a@src.test>")[:3])
            for line in (b"MAIL FROM:<b@src.test>", b"DATA"):
                self.assertEqual("503", client.tell(line)[:3])
        for forget in (b"RSET", b"EHLO again.test", b"HELO again.test"):
            name = forget[:4].decode().lower()
            client = self.session()
            client.tell(b"MAIL FROM:<hidden@src.test>")
            client.tell(b"RCPT TO:<ok+hidden@evil.test>")
            client.write(forget + b"\r\n")
            while "-" in (answer := client.reply())[3:4]:
                pass
            self.assertEqual("250", answer[:3])
            self.assertEqual("503", client.tell(b"DATA")[:3])
            client.tell(b"MAIL FROM:<from@src.test>")
            self.assertEqual("503", client.tell(b"DATA")[:3])
            client.tell(b"RCPT TO:<ok+%b@evil.test>" % name.encode())
            self.assertEqual("250", self.data(client, TEXT)[:3])
            self.settle()
            self.assertEqual(["from@src.test"], [line["from"] for line in self.to(name)])

    def test_S29_a_message_after_one_that_failed(self) -> None:
        """It has nothing of the first: not its sender, its recipients, its text."""
        client = self.begun("hidden")
        self.assertEqual("554", self.data(client, b"X-Audit-Id: hidden\r\n\r\n\0\r\n.\r\n")[:3])
        self.envelope(client, "after")
        self.assertEqual("250", self.data(client, TEXT)[:3])
        self.assertNotIn(b"hidden", self.text("after"))
        self.assertEqual(["ok+after@evil.test"], [line["rcpt"] for line in self.to("after")])
