"""What readers and filters by others make of the MIME that the relay writes."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from relay.mime.letter import letter
from relay.mime.mailobject import MailObject
from tests.peers.clients import NODEMAILER, objects
from tests.peers.mails import MAILS
from tests.peers.objects import MAILS as OBJECTS
from tests.peers.readers import MAILPARSER, seen
from tests.peers.rspamd import Rspamd
from tests.scenario.harness import deferToThread, post
from tests.scenario.interop import Interop, absent, program


def written(mail: MailObject) -> bytes:
    return b"".join(letter(mail, "seed", max_size=10**7, max_recipients=1000).pieces)


class Mailparser(SynchronousTestCase):
    maxDiff = 4000

    def setUp(self) -> None:
        if not MAILPARSER.exists():
            raise absent("mailparser")
        self.node = program("node")

    def test_mails_are_seen_as_they_were_meant(self) -> None:
        found = seen(self.node, [written(msgspec.convert(mail, MailObject)) for mail in MAILS])
        self.assertEqual(len(found), len(MAILS))
        for mail, one in zip(MAILS, found, strict=True):
            headers = one.pop("headers")
            self.assertEqual(one, meant(mail))
            for name, value in mail.get("headers", {}).items():
                if not name.startswith("List-"):
                    self.assertEqual(headers[name.lower()], value)

    def test_fields_for_programs(self) -> None:
        [mail] = [mail for mail in MAILS if "list" in mail]
        [one] = seen(self.node, [written(msgspec.convert(mail, MailObject))])
        headers = one["headers"]
        for name, key in (("message-id", "messageId"), ("in-reply-to", "inReplyTo"), ("references", "references")):
            self.assertEqual(headers[name], mail[key])
        self.assertEqual(headers["date"], "2026-11-27T15:00:00.000Z")
        self.assertEqual(headers["priority"], "high")
        unsubscribe, address = mail["list"]["unsubscribe"][0]
        self.assertEqual(
            headers["list"],
            {
                "unsubscribe": {"id": unsubscribe["url"], "name": unsubscribe["comment"], "mail": address},
                "unsubscribe-post": {"name": "List-Unsubscribe=One-Click"},
                "help": {"mail": mail["list"]["help"]},
                "id": {"id": mail["list"]["id"]["url"], "name": mail["list"]["id"]["comment"]},
            },
        )

    def test_nodemailers_objects_are_seen_as_nodemailers_own_mail(self) -> None:
        if not NODEMAILER.exists():
            raise absent("Nodemailer")
        made = objects(self.node, OBJECTS)
        ours = seen(self.node, [written(msgspec.json.decode(one["json"], type=MailObject)) for one in made])
        theirs = seen(self.node, [b64decode(one["message"]) for one in made])
        self.assertEqual(len(ours), len(OBJECTS))
        for our, their in zip(ours, theirs, strict=True):
            self.assertEqual(alike(our), alike(their))


def meant(mail: dict[str, Any]) -> dict[str, Any]:
    """What a reader is to see of one of MAILS."""
    files = []
    event = mail.get("icalEvent")
    if event:
        data = b64encode(event["content"].encode()).decode()
        form = {"kind": "text/calendar", "disposition": "", "filename": "", "cid": "", "related": False}
        file = {"kind": "application/ics", "disposition": "attachment", "filename": event["filename"]}
        files = [{**form, "content": data}, {**form, **file, "content": data}]
    for one in mail.get("attachments", []):
        kind = {"pdf": "application/pdf", "png": "image/png", "bin": "application/octet-stream", "csv": "text/csv"}
        shown = "cid" in one
        files.append({
            "kind": one.get("contentType", kind.get(one["filename"][-3:], "text/plain")).partition(";")[0],
            "disposition": "inline" if shown else "attachment",
            "filename": one["filename"],
            "cid": one.get("cid", ""),
            "related": shown,
            "content": one["content"],
        })  # fmt: skip
    people = {key: mail.get(key, []) for key in ("from", "to", "cc", "replyTo")}
    return {
        **{key: found if isinstance(found, list) else [found] for key, found in people.items()},
        **{key: mail.get(key, "") for key in ("subject", "text", "html")},
        "files": files,
    }


def alike(found: dict[str, Any]) -> dict[str, Any]:
    """Of what was seen what doesn't depend on who wrote it."""
    headers = found["headers"]
    people = ("from", "to", "cc", "bcc", "reply-to")
    for name in ("message-id", "date", "content-type", "content-transfer-encoding", *people):
        headers.pop(name, None)
    for file in found["files"]:
        # Those of images that were data: URLs, and names of what has none, are made up.
        file["cid"] = re.sub(r".*@.*", "made", file["cid"])
    for text in ("text", "html"):
        found[text] = re.sub(r"cid:[^\"]+@[^\"]+", "cid:made", found[text]).removesuffix("\n")
    return found


#: Much that is wrong with how a message is written, and what rspamd calls it.
BROKEN = """From: =?utf-8?q?Somebody?= <me@example.com>
From: other@example.com
To:you@example.org
Subject: =?utf-8?q?plain?=
Message-ID: none
Date: tomorrow
X-MSMail-Priority: High
Content-Type: multipart/mixed; boundary=b; charset=utf-8

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

Grüße
--b
Content-Type: text/plain
Content-Transfer-Encoding: base64

cGxhaW4gdGV4dA==
--b--
"""
FOUND = frozenset((
    "CTYPE_MIXED_BOGUS", "FROM_EXCESS_QP", "INVALID_DATE", "INVALID_MSGID", "MID_MISSING_BRACKETS",
    "MIME_BASE64_TEXT_BOGUS", "MISSING_MIMEOLE", "MISSING_MIME_VERSION", "MULTIPLE_FROM", "MULTIPLE_UNIQUE_HEADERS",
    "R_BAD_CTE_7BIT", "SUBJ_EXCESS_QP",
))  # fmt: skip


class Filtered(Interop):
    #: What mails are, not how they are written: with a subject of more than 200 letters, with texts of few words or
    #: mostly beyond ASCII; and that the relay got them without TLS.
    about = frozenset({"LONG_SUBJ", "R_PARTS_DIFFER", "MIME_BASE64_TEXT", "RCVD_NO_TLS_LAST"})

    async def test_rspamd_has_nothing_against_them(self) -> None:
        """In what comes out at the other end; it has much against a message that is broken on purpose."""
        rspamd = Rspamd(self.directory)
        self.addCleanup(rspamd.stop)
        rspamd.start()
        relay = await self.begin()
        await self.until(lambda: rspamd.ready, 20, "rspamd", relay)
        broken = BROKEN.replace("\n", "\r\n").encode()
        found = await deferToThread(rspamd.opinion, broken, "me@example.com", ["you@example.org"])
        self.assertLessEqual(FOUND, {name for name, score in found.items() if score > 0}, found)
        for mail in MAILS:
            before = len(self.hop.taken)
            status, said = await deferToThread(post, relay.api, "/send", json.dumps(mail).encode())
            self.assertEqual(status, 200, said)
            await self.until(lambda at=before: len(self.hop.taken) > at, 20, mail["subject"], relay)
            taken = self.hop.taken[before]
            found = await deferToThread(rspamd.opinion, taken.text, taken.sender, json.loads(said)["to"])
            against = {name for name, score in found.items() if score > 0} - self.about
            # A word that no line holds has to be encoded.
            if max(map(len, mail["subject"].split())) > 998:
                against.discard("SUBJ_EXCESS_QP")
            self.assertEqual(against, set(), mail["subject"])
