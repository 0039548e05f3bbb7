"""Into the relay by programs that others wrote, and out again: what arrives is what was sent.

Below the relay's Received line everything is compared byte by byte.
"""

from __future__ import annotations

import json
import re
import smtplib
import time
import urllib.request
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.peers.collector import Taken
from tests.scenario.harness import deferToThread, post
from tests.scenario.interop import Interop, program
from tests.scenario.texts import TEXTS, arrived

SENDER = "sender@src.test"
_ADDED = re.compile(rb"Date: ([^\r\n]+ \+0000)\r\nMessage-ID: <([0-9a-f-]{36})@src\.test>\r\n")


class Into(Interop):
    def assert_arrived(
        self,
        taken: Taken,
        text: bytes,
        recipient: str,
        hello: str,
        transport: str = "ESMTP",
        seq: str = "001",
    ) -> str:
        """One delivery, with our Received line on top and nothing else changed; its queue id."""
        came = arrived(taken.text)
        now, accepted = time.time(), parsedate_to_datetime(came.received["date"]).timestamp()
        self.assertTrue(now - 60 < accepted < now + 2, came.received["date"])
        self.assertEqual(b"", came.above)
        self.assertEqual(
            {
                "hello": hello,
                "client": "[127.0.0.1]",
                "by": "relay.test",
                "product": "Zonerelay",
                "transport": transport,
                "id": came.received["id"],
                "seq": seq,
                "to": recipient,
                "date": came.received["date"],
            },
            came.received,
        )
        self.assertEqual((SENDER, [recipient]), (taken.sender, taken.recipients))
        if len(text) < 10_000:
            self.assertEqual(text, came.text)
        self.assertTrue(text == came.text, "a long text arrived changed")
        return came.received["id"]

    def completed(self, text: bytes) -> bytes:
        """A text that came with Date and Message-ID added; without them, after a look at both."""
        added = _ADDED.match(text)
        assert added is not None, text[:300]
        self.assertLess(abs(parsedate_to_datetime(added[1].decode()).timestamp() - time.time()), 60)
        return text[added.end() :]


class Swaks(Into):
    async def swaks(self, *words: str, recipient: str = "one@dest.test") -> bytes:
        """Runs swaks; the text it sent, as its transcript shows it."""
        said = await self.run_program(
            program("swaks"),
            "--server",
            f"127.0.0.1:{self.relayed.smtp}",
            *("--helo", "swaks.test", "--from", SENDER, "--to", recipient),
            *words,
        )
        text = re.search(
            rb"^<-  354 [^\n]*\n(.*?\n) -> \.\r?\n<-  250 2.0.0 Message queued as ", said, re.S | re.M
        )
        assert text is not None, said
        self.transcript = said
        lines = text[1].replace(b"\r\n", b"\n").splitlines()
        return b"".join(line.removeprefix(b" -> ").removeprefix(b".") + b"\r\n" for line in lines)

    async def test_plain(self) -> None:
        await self.begin()
        text = await self.swaks()
        self.assertIn(b"\r\n\r\nThis is a test mailing\r\n", text)
        self.assert_arrived((await self.taken(1))[0], text, "one@dest.test", "swaks.test")

    async def test_body_from_file(self) -> None:
        """Dots at the beginning of lines, 8-bit characters, the longest line there may be."""
        await self.begin()
        body = ".\n..\n.a\nGrüße\n\n" + "x" * 998 + "\n.\nend\n"
        Path(self.directory, "body").write_text(body)
        text = await self.swaks("--body", "@body")
        self.assertTrue(text.partition(b"\r\n\r\n")[2].startswith(body.replace("\n", "\r\n").encode()))
        self.assert_arrived((await self.taken(1))[0], text, "one@dest.test", "swaks.test")

    async def test_pipeline(self) -> None:
        """MAIL, RCPT and DATA in one write; the relay does the same to the next hop."""
        await self.begin()
        text = await self.swaks("--pipeline")
        self.assertRegex(self.transcript, rb"\n -> MAIL [^\n]+\n -> RCPT [^\n]+\n -> DATA\r?\n<- ")
        self.assert_arrived((await self.taken(1))[0], text, "one@dest.test", "swaks.test")

    async def test_several_recipients(self) -> None:
        """Each gets a transaction of its own; one that is refused takes nothing from the others."""
        await self.begin()
        recipients = ["a@one.test", "b@one.test", "c@two.test"]
        text = await self.swaks(
            "--pipeline", recipient=",".join([*recipients[:2], "x@localhost", recipients[2]])
        )
        ids = set()
        for number, taken in enumerate(await self.taken(3)):
            ids.add(
                self.assert_arrived(taken, text, recipients[number], "swaks.test", seq=f"{number + 1:03x}")
            )
        self.assertEqual(1, len(ids))


class PythonLibrary(Into):
    async def test_sendmail(self) -> None:
        """A text with nothing but a subject, in bare LF that smtplib makes CRLF."""
        relay = await self.begin()

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "python.test") as client:
                client.sendmail(
                    SENDER, ["one@dest.test"], "Subject: Hello\nBcc: <secret@dest.test>\n\n.Hello.\n"
                )

        await deferToThread(send)
        (taken,) = await self.taken(1)
        rest = self.completed(arrived(taken.text).text)
        self.assertEqual(b"Subject: Hello\r\n\r\n.Hello.\r\n", rest)

    async def test_send_message(self) -> None:
        """What Python composes: MIME, an attachment, 8-bit text, Bcc in the envelope alone."""
        relay = await self.begin()
        message = EmailMessage()
        message["From"], message["To"], message["Bcc"] = SENDER, "one@dest.test", "two@dest.test"
        message["Subject"] = "Grüße"
        message["Date"], message["Message-ID"] = "Sun, 22 Nov 2026 03:58:10 +0000", "<python@src.test>"
        message.set_content("Grüße, 世界\n.\n", cte="8bit")
        message.add_attachment(bytes(range(256)) * 50, maintype="application", subtype="octet-stream")
        message.set_boundary("=-=-=")

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "python.test") as client:
                client.send_message(message, mail_options=["BODY=8BITMIME"])

        await deferToThread(send)
        del message["Bcc"]
        text = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
        one, two = await self.taken(2)
        self.assert_arrived(one, text, "one@dest.test", "python.test")
        self.assert_arrived(two, text, "two@dest.test", "python.test", seq="002")
        self.assertIn("BODY=8BITMIME", one.options)

    async def test_one_session(self) -> None:
        """All awkward texts over one session, with a RSET, a refused recipient and a refused text between."""
        relay = await self.begin()

        def send() -> dict[str, str]:
            ids = {}
            with smtplib.SMTP("127.0.0.1", relay.smtp, "python.test") as client:
                client.ehlo()
                for name, text in TEXTS.items():
                    client.mail(SENDER, ["BODY=8BITMIME"])
                    self.assertEqual(550, client.rcpt("nobody@localhost")[0])
                    client.rset()
                    client.mail(SENDER, ["BODY=8BITMIME"])
                    client.rcpt(f"{name}@dest.test")
                    self.assertEqual(501, client.rcpt("no address")[0])
                    code, words = client.data(text)
                    self.assertEqual(250, code, words)
                    ids[name] = words.split()[-1].decode()
                self.assertEqual(503, client.docmd("DATA")[0])
                client.mail(SENDER)
                client.rcpt("bare@dest.test")
                client.docmd("DATA")
                client.send(b"Subject: bare\r\n\r\nbare\nLF\r\n.\r\n")
                self.assertGreaterEqual(client.getreply()[0], 500)
            return ids

        ids = await deferToThread(send)
        for taken in await self.taken(len(TEXTS)):
            name = taken.recipients[0].partition("@")[0]
            self.assertEqual(
                ids[name], self.assert_arrived(taken, TEXTS[name], f"{name}@dest.test", "python.test")
            )


class Curl(Into):
    async def test_smtp(self) -> None:
        """curl's own SMTP, with two recipients."""
        relay = await self.begin()
        Path(self.directory, "mail").write_bytes(TEXTS["dots"])
        await self.run_program(
            program("curl"),
            *("-sS", f"smtp://127.0.0.1:{relay.smtp}/curl.test", "--mail-from", SENDER),
            *("--mail-rcpt", "one@dest.test", "--mail-rcpt", "two@dest.test", "-T", "mail"),
        )
        one, two = await self.taken(2)
        self.assert_arrived(one, TEXTS["dots"], "one@dest.test", "curl.test")
        self.assert_arrived(two, TEXTS["dots"], "two@dest.test", "curl.test", seq="002")

    async def test_http(self) -> None:
        """POST /send-raw: recipients from To, Cc and Bcc, line ends made CRLF, what is private removed."""
        relay = await self.begin()
        head = "From: Me <sender@src.test>\nTo: one@dest.test\nCc: two@dest.test, three@dest.test\n"
        private = "Bcc: four@dest.test,\n five@dest.test\nX-Sending-Zone: default\n"
        Path(self.directory, "mail").write_text(head + private + "Subject: Hello\n\n.Grüße\n.\n")
        said = await self.run_program(
            program("curl"),
            *("-sS", "--fail", "-H", "Content-Type: message/rfc822", "--data-binary", "@mail"),
            f"http://127.0.0.1:{relay.api}/send-raw",
        )
        everybody = [f"{name}@dest.test" for name in ("one", "two", "three", "four", "five")]
        self.assertIn(b'"response":"Message queued as ', said)
        for taken in await self.taken(5):
            came = arrived(taken.text)
            self.assertEqual(("localhost", "HTTP"), (came.received["hello"], came.received["transport"]))
            self.assertEqual(
                (head + "Subject: Hello\n\n.Grüße\n.\n").replace("\n", "\r\n").encode(),
                self.completed(came.text),
            )
            everybody.remove(taken.recipients[0])
        self.assertEqual([], everybody)

    async def test_http_chunked(self) -> None:
        """2 MB of unknown length, streamed; the envelope is given in the query."""
        relay = await self.begin()
        await self.run_program(
            program("curl"),
            *("-sS", "--fail", "-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", "-"),
            f"http://127.0.0.1:{relay.api}/send-raw?from={SENDER}&to=one@dest.test",
            text=TEXTS["large"],
        )
        self.assert_arrived(
            (await self.taken(1))[0], TEXTS["large"], "one@dest.test", "localhost", transport="HTTP"
        )


class Api(Into):
    """By urllib, which has no tricks."""

    async def submitted(self, text: bytes, *recipients: str) -> str:
        """POSTs a text; its queue id."""
        query = f"from={SENDER}&to={','.join(recipients)}"
        code, said = await deferToThread(post, self.relayed.api, f"/send-raw?{query}", text)
        self.assertEqual(200, code, said)
        answer = json.loads(said)
        queue_id = str(answer["id"])
        self.assertEqual(
            {
                "id": queue_id,
                "from": SENDER,
                "to": [*recipients],
                "response": f"Message queued as {queue_id}",
            },
            answer,
        )
        return queue_id

    async def test_urllib(self) -> None:
        relay = await self.begin()
        url = f"http://127.0.0.1:{relay.api}/send-raw?from={SENDER}&to=one@dest.test"

        def send() -> int:
            with urllib.request.urlopen(url, TEXTS["eight-bit"], timeout=20) as answer:
                return int(answer.status)

        self.assertEqual(200, await deferToThread(send))
        (taken,) = await self.taken(1)
        self.assert_arrived(taken, TEXTS["eight-bit"], "one@dest.test", "localhost", transport="HTTP")
        self.assertIn("BODY=8BITMIME", taken.options)

    async def test_questions_on_the_way(self) -> None:
        """One delivery goes out at once, one waits and is sent by hand, one waits and is deleted."""
        relay = await self.begin(retry='["1h"]')
        later = "451 4.7.1 not now"
        self.hop.replies = {"waits@dest.test": later, "goes@other.test": later}
        text = TEXTS["dots"]
        queue_id = await self.submitted(text, "now@dest.test", "waits@dest.test", "goes@other.test")
        await self.until(lambda: self.waiting(relay) == (0, 2), 20, "two deferred", relay)

        await self.metrics(b'delivery_status{result="delivered",status="delivered",zone="default"} 1.0')

        self.assertEqual([{"name": "default"}], self.asked(relay, "/zones"))
        zone = self.asked(relay, "/queue/default")
        self.assertEqual((1, 0, 2), (zone["processed"], zone["queued"], zone["deferred"]))
        self.assertEqual(
            [
                {"domain": "dest.test", "queued": 0, "deferred": 1},
                {"domain": "other.test", "queued": 0, "deferred": 1},
            ],
            zone["domains"],
        )
        self.assertEqual([], self.asked(relay, "/queued/active/default")["list"])
        listed = self.asked(relay, "/queued/deferred/default")["list"]
        self.assertEqual(
            [(queue_id, "goes@other.test"), (queue_id, "waits@dest.test")],
            sorted((item["id"], item["recipient"]) for item in listed),
        )
        message = self.asked(relay, f"/message/{queue_id}")
        self.assertEqual(
            (queue_id, SENDER, "HTTP"), tuple(message["meta"][k] for k in ("id", "from", "transtype"))
        )
        self.assertEqual("<dots@src.test>", message["meta"]["messageId"])
        rows = {row["recipient"]: row for row in message["messages"]}
        self.assertEqual(
            {"waits@dest.test": "002", "goes@other.test": "003"}, {r: rows[r]["seq"] for r in rows}
        )
        for row in rows.values():
            self.assertEqual(
                ("DEFERRED", 1, later), (row["status"], row["deferred"]["count"], row["deferred"]["response"])
            )
            self.assertLess(abs(time.time() + 3600 - row["deferred"]["next"] / 1000), 60)
        self.assertEqual((200, text), post(relay.api, f"/fetch/{queue_id}", method="GET"))
        self.assertEqual(
            (200, text.partition(b"\r\n\r\n")[2]),
            post(relay.api, f"/fetch/{queue_id}?body=yes", method="GET"),
        )
        await self.metrics(b'delivery_status{result="deferred",status="deferred",zone="default"} 2.0')
        await self.metrics(b'queue_size{type="deferred"} 2.0')

        self.hop.replies.clear()
        done = {"success": True, "deliveries": 1}
        self.assertEqual(done, self.asked(relay, f"/message/{queue_id}/002", "PUT"))
        await self.until(lambda: self.waiting(relay) == (0, 1), 10, "the one that was sent by hand", relay)
        self.assertEqual(done, self.asked(relay, f"/message/{queue_id}/003", "DELETE"))
        now, waited = await self.taken(2)
        self.assert_arrived(now, text, "now@dest.test", "localhost", transport="HTTP")
        self.assert_arrived(waited, text, "waits@dest.test", "localhost", transport="HTTP", seq="002")
        await self.metrics(b'delivery_status{result="delivered",status="delivered",zone="default"} 2.0')
        await self.metrics(b'message_push{result="success"} 1.0')
        for path in (f"/message/{queue_id}", f"/fetch/{queue_id}"):
            self.assertIn("error", self.asked(relay, path, status=404))
        self.assertEqual(
            {"success": True, "deliveries": 0}, self.asked(relay, f"/message/{queue_id}", "DELETE")
        )

    async def metrics(self, line: bytes) -> None:
        """Wait until the metrics have it: they count what is on disk, a moment after it is."""

        def there() -> bool:
            code, text = post(self.relayed.api, "/metrics", method="GET")
            self.assertEqual(200, code)
            return b"zonemta_" + line in text.splitlines()

        await self.until(there, 10, f"{line!r} among the metrics", self.relayed)
