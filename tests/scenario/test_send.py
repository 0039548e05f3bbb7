"""Mail by HTTP: what docs/api.md tells people to type, and what Nodemailer would have made of the same objects."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import Counter
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from relay.mime.letter import letter
from relay.mime.mailobject import MailObject
from tests.peers.clients import NODEMAILER, objects
from tests.peers.objects import ENDS, MAILS
from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.interop import ROOT, Interop, absent, program

_HEADERS = (
    "From", "Sender", "To", "Cc", "Reply-To", "Subject", "In-Reply-To", "References", "X-One", "X-Two", "X-Three",
    "Importance", "X-Priority", "List-Unsubscribe", "X-Own", "MIME-Version",
)  # fmt: skip


def seen(message: Message) -> list[Any]:
    """What a reader of mail sees: people, texts, parts."""
    header = [
        (name, str(make_header(decode_header(re.sub(r"\r?\n", "", value).strip()))).replace(": ", ":").replace('"', ""))
        for name in _HEADERS
        for value in message.get_all(name, [])
    ]
    return [header, parts(message)]


def parts(message: Message) -> Any:
    kind = message.get_content_type()
    if message.get_content_maintype() == "multipart":
        return [kind, [parts(one) for one in message.get_payload()]]  # type: ignore[arg-type, union-attr]
    if kind == "message/rfc822":
        return [kind, message.get_payload(0).as_string()]  # type: ignore[union-attr]
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    cid = message["Content-ID"]
    return [
        kind,
        message.get_filename(),
        message.get_content_disposition(),
        # Those of images that were data: URLs are made up.
        cid if cid is None or "logo" in cid else "made",
        # A last line end is part of the text only between boundaries.
        re.sub(rb"cid:[^\"]+", b"cid:", text.replace(b"\r\n", b"\n")).removesuffix(b"\n"),
        message.get_param("method"),
    ]


class NodemailersObjects(SynchronousTestCase):
    def test_a_reader_sees_the_same(self) -> None:
        if not NODEMAILER.exists():
            raise absent("Nodemailer")
        made = objects(program("node"), MAILS)
        self.assertEqual(len(made), len(MAILS))
        for mail, one in zip(MAILS, made, strict=True):
            given = msgspec.json.decode(one["json"], type=MailObject)
            ours = letter(given, "seed", max_size=10**6, max_recipients=100)
            theirs = message_from_bytes(b64decode(one["message"]))
            self.assertEqual(seen(message_from_bytes(b"".join(ours.pieces))), seen(theirs), mail)
            if "raw" not in mail:
                self.assertEqual(ours.sender, one["envelope"]["from"])
                self.assertEqual(Counter(ours.recipients), Counter(one["envelope"]["to"]))


class NodemailersMail(Interop):
    async def test_what_is_sent_is_what_nodemailer_would_have_sent(self) -> None:
        """Its own objects, through /send, as they come out at the other end."""
        if not NODEMAILER.exists():
            raise absent("Nodemailer")
        made = await deferToThread(objects, program("node"), MAILS)
        relay = await self.begin()
        for mail, one in zip(MAILS, made, strict=True):
            before = len(self.hop.taken)
            status, said = await deferToThread(post, relay.api, "/send", one["json"].encode())
            self.assertEqual(status, 200, (mail, said))
            people = Counter(json.loads(said)["to"])
            await self.until(lambda at=before, to=people: self.arrived(at) == to, 20, str(mail), relay)
            theirs = message_from_bytes(b64decode(one["message"]))
            for taken in self.hop.taken[before:]:
                self.assertEqual(seen(message_from_bytes(taken.text)), seen(theirs), mail)
                if "raw" not in mail:
                    self.assertEqual(taken.sender, one["envelope"]["from"])

    def arrived(self, at: int) -> Counter[str]:
        return Counter(to for taken in self.hop.taken[at:] for to in taken.recipients)


class Documented(Interop):
    def commands(self, text: str) -> list[str]:
        """The blocks of a text that are to be typed."""
        blocks = [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    .*\n)+", text, re.M)]
        return [block for block in blocks if "curl" in block]

    async def typed(self, command: str, relay: Relay) -> bytes:
        """What a block of them says; it fails where an answer is an error."""
        script = command.replace("127.0.0.1:8080", f"127.0.0.1:{relay.api}").replace("curl", "curl -sS --fail")
        self.assertNotEqual(script, command)
        return await self.run_program("bash", "-ec", script)

    async def test_the_commands_of_docs_api(self) -> None:
        program("curl")
        relay = await self.begin(extra=f'[sinks.shop]\nkind = "file"\npath = "{self.directory}/events"\n')
        submitting, *others = (ROOT / "docs/api.md").read_text().split("\n## ")[1:]
        commands = self.commands(submitting)
        # How many messages each makes, and what comes out at the other end.
        expected = [2, 2, 1, 2, 2, 1, 1, 2, 2]
        self.assertEqual(len(commands), len(expected))
        for command, count in zip(commands, expected, strict=True):
            before = len(self.hop.taken)
            answer = json.loads(await self.typed(command, relay))
            said = answer if isinstance(answer, list) else answer.get("messages", [answer])
            for one in said:
                if "deliveries" in one:
                    one["to"] = [delivery["recipient"] for delivery in one["deliveries"]]
                    continue
                self.assertEqual(list(one), ["id", "from", "to", "response"])
                self.assertEqual(one["response"], f"Message queued as {one['id']}")
            await self.until(lambda want=before + count: len(self.hop.taken) == want, 20, command, relay)
            arrived = Counter(to for taken in self.hop.taken[before:] for to in taken.recipients)
            self.assertEqual(arrived, Counter(to for one in said for to in one["to"]))
        for command in (command for section in others for command in self.commands(section)):
            said = await self.typed(command, relay)
            self.assertTrue(said and b'"title":' not in said, f"{command}: {said!r}")
        texts = [message_from_bytes(taken.text) for taken in self.hop.taken]
        first = next(one for one in texts if str(make_header(decode_header(one["Subject"]))) == "Grüße")
        self.assertEqual(first.get_payload(1).get_filename(), "Prüfung.csv")  # type: ignore[union-attr]
        self.assertIsNotNone(first["Message-ID"])

    async def test_H26_H27_a_key_holds_over_a_kill(self) -> None:
        relay = await self.begin()
        mail = json.dumps({**ENDS, "text": "once"}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": "order-1"}
        first = await deferToThread(post, relay.api, "/send", mail, headers=headers)
        await self.until(lambda: self.hop.taken, 20, "the message", relay)
        relay.kill()
        await self.up(relay)
        self.assertEqual(await deferToThread(post, relay.api, "/send", mail, headers=headers), first)
        other = await deferToThread(post, relay.api, "/send", mail, headers={**headers, "Idempotency-Key": "order-2"})
        self.assertNotEqual(other, first)
        await self.until(lambda: len(self.hop.taken) == 2, 20, "the other", relay)

    async def test_H10_nothing_is_fetched(self) -> None:
        relay = await self.begin()
        for place in ("/etc/hostname", "http://169.254.169.254/", f"http://127.0.0.1:{relay.api}/metrics"):
            mail = json.dumps({**ENDS, "attachments": [{"path": place}]}).encode()
            status, said = await deferToThread(post, relay.api, "/send", mail)
            self.assertEqual(status, 400)
            self.assertIn(f"access rejected for {place}", json.loads(said)["message"])
        self.assertEqual(self.hop.taken, [])
