"""A mail object as a message: how it is put together, whom it goes to, what is refused, and how the refusal reads."""

from __future__ import annotations

from binascii import a2b_qp
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, cast

import hypothesis
import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mime.content import Rejected
from relay.mime.letter import Letter, letter, to_each
from relay.mime.mailobject import MailObject, decoded
from relay.mime.transfer import unbase64, written
from relay.mime.unfit import Nobody, TooLarge, Unfit
from tests.unit.test_mime_header import LINES

SIZE = 1_000_000
BASE = {"from": "a@example.com", "to": "b@example.net"}
#: Text bodies hold anything but halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=400)


def mail(fields: dict[str, Any]) -> MailObject:
    body = msgspec.json.encode(fields)
    return decoded(lambda: msgspec.json.decode(body, type=MailObject))


def write(**fields: Any) -> Letter:
    return letter(mail({**BASE, **fields}), "seed", max_size=SIZE, max_recipients=10)


def text_of(one: Letter) -> bytes:
    return b"".join(one.pieces)


def read(one: Letter) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(text_of(one), policy=SMTP))


def shape(part: Any) -> Any:
    """Its type, or the types of its parts."""
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        return [part.get_content_subtype(), *map(shape, part.iter_parts())]
    return part.get_content_type()


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Shapes(SynchronousTestCase):
    def shape(self, **fields: Any) -> Any:
        return shape(read(write(**fields)))

    def test_only_what_is_needed(self) -> None:
        text, html, file = "t", "<p>", {"content": "x", "filename": "a.txt"}
        image = {"content": "x", "filename": "a.png", "cid": "i"}
        related = ["related", "text/html", "image/png"]
        both = ["alternative", "text/plain", "text/html"]
        self.assertEqual(self.shape(), "text/plain")
        self.assertEqual(self.shape(text=text), "text/plain")
        self.assertEqual(self.shape(html=html), "text/html")
        self.assertEqual(self.shape(text=text, html=html), both)
        self.assertEqual(self.shape(html=html, attachments=[image]), related)
        self.assertEqual(self.shape(text=text, html=html, attachments=[image]), ["alternative", "text/plain", related])
        self.assertEqual(self.shape(attachments=[file]), "text/plain")
        self.assertEqual(self.shape(text=text, attachments=[file]), ["mixed", "text/plain", "text/plain"])
        self.assertEqual(self.shape(text=text, attachments=[image]), ["mixed", "text/plain", "image/png"])
        self.assertEqual(
            self.shape(text=text, html=html, attachments=[image, file]),
            ["mixed", ["alternative", "text/plain", related], "text/plain"],
        )
        self.assertEqual(
            self.shape(text=text, watchHtml="w", amp="a", html=html, icalEvent="e", alternatives=[{"content": "#"}]),
            ["mixed", ["alternative", "text/plain", "text/watch-html", "text/x-amp-html", "text/html", "text/calendar",
                       "text/plain"], "application/ics"],
        )  # fmt: skip

    def test_the_same_object_and_seed_give_the_same_bytes(self) -> None:
        one, two = (text_of(write(text="t", html="<p>", attachments=[{"content": "x"}])) for _ in range(2))
        self.assertEqual(one, two)
        self.assertEqual(one.count(b"--=_seed_2\r\n"), 2)

    def test_an_invitation(self) -> None:
        both = read(write(text="t", icalEvent={"method": "request", "content": "BEGIN:VCALENDAR", "filename": "x.ics"}))
        forms, file = both.iter_parts()
        event = list(forms.iter_parts())[1]
        self.assertEqual(event["Content-Type"].params, {"charset": "utf-8", "method": "REQUEST"})
        self.assertEqual((file.get_content_type(), file.get_filename()), ("application/ics", "x.ics"))
        self.assertEqual(file.get_payload(decode=True), b"BEGIN:VCALENDAR")

    def test_data_urls(self) -> None:
        html = """<p><img alt="x" src="data:image/gif;base64,R0lG"> <IMG src = 'data:image/png,%89PNG'></p>"""
        found = read(write(html=html, attachDataUrls=True))
        self.assertEqual(shape(found), ["related", "text/html", "image/gif", "image/png"])
        text, first, second = found.iter_parts()
        self.assertEqual([first.get_payload(decode=True), second.get_payload(decode=True)], [b"GIF", b"\x89PNG"])
        for part in (first, second):
            self.assertIn(f"cid:{part['Content-ID'][1:-1]}", text.get_content())
        self.assertNotIn("data:", text.get_content().replace("@data", ""))
        self.assertEqual(self.shape(html=html), "text/html")
        [_, file] = read(write(text="t", attachments=[{"path": "data:text/csv;base64,YSxi"}])).iter_parts()
        self.assertEqual((file.get_content_type(), file.get_payload(decode=True)), ("text/csv", b"a,b"))

    def test_attachments(self) -> None:
        octets = "application/octet-stream"
        for given, kind, name, data in (
            ({"filename": "a.bin", "content": "00ff", "encoding": "hex"}, octets, "a.bin", b"\0\xff"),
            ({"filename": "a.PDF", "content": "JVBE\r\nRg", "encoding": "base64"}, "application/pdf", "a.PDF", b"%PDF"),
            ({"content": {"type": "Buffer", "data": [0, 255]}}, octets, "attachment-1.bin", b"\0\xff"),
            ({"type": "Buffer", "data": [65]}, octets, "attachment-1.bin", b"A"),
            (
                {"content": "é", "encoding": "latin1", "contentType": "image/x", "filename": False},
                "image/x", None, b"\xe9",
            ),
            ({"content": "ä\n", "contentType": "text/csv; header=yes"}, "text/csv", "attachment-1.csv", b"\xc3\xa4\n"),
            (
                {"content": "a\n", "filename": "a.txt", "contentTransferEncoding": "quoted-printable"},
                "text/plain", "a.txt", b"a\r\n",
            ),
        ):  # fmt: skip
            [_, part] = read(write(text="t", attachments=[given])).iter_parts()
            self.assertEqual((part.get_content_type(), part.get_filename()), (kind, name), given)
            self.assertEqual(part.get_payload(decode=True), data)
            self.assertEqual(part.get_content_disposition(), "attachment")

    def test_how_files_travel(self) -> None:
        for name, data, encoding in (
            ("a.csv", b"a,b\n1,2\n", "quoted-printable"),
            ("a.txt", b"dos\r\nunix\nmac\rblank \n.\n" + b"x" * 1000, "quoted-printable"),
            ("a.txt", "grün\n".encode(), "base64"),
            ("a.txt", b"nul \0", "base64"),
            ("a.pdf", b"%PDF", "base64"),
        ):
            given = {"filename": name, "content": {"type": "Buffer", "data": list(data)}}
            [_, part] = read(write(text="t", attachments=[given])).iter_parts()
            self.assertEqual((part["Content-Transfer-Encoding"], part.get_payload(decode=True)), (encoding, data))

    def test_dispositions(self) -> None:
        for given, name in (
            ({"filename": "a.txt", "contentDisposition": "inline"}, "a.txt"),
            ({"filename": "a.png", "cid": "x"}, "a.png"),
            ({"headers": {"Content-Disposition": "inline; filename=z"}}, "z"),
        ):
            [_, part] = read(write(text="t", attachments=[{"content": "x", **given}])).iter_parts()
            self.assertEqual((part.get_content_disposition(), part.get_filename()), ("inline", name))

    def test_messages_within(self) -> None:
        inner = "Subject: x\n\nää\n"
        whole = write(text="t", attachments=[{"content": inner, "contentType": "message/rfc822"}])
        self.assertIn(b"Content-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n\r\n\xc3\xa4\xc3\xa4\r\n", text_of(whole))
        with self.assertRaises(Unfit) as caught:
            write(attachments=[{"content": "x" * 999, "contentType": "message/rfc822"}])
        self.assertEqual(caught.exception.field, "attachments[0].content")

    def test_prepared_parts(self) -> None:
        [_, part] = read(write(text="t", attachments=[{"raw": "Content-Type: text/x-own\nX-Y: z\n\nown"}])).iter_parts()
        self.assertEqual((part.get_content_type(), part["X-Y"], part.get_content()), ("text/x-own", "z", "own"))
        alone = write(html={"raw": "Content-Type: text/x-own\n\nown"})
        self.assertEqual(read(alone).get_content_type(), "text/x-own")

    def test_how_texts_travel(self) -> None:
        for given, wish, encoding in (
            ("plain", {}, "7bit"),
            ("x" * 77, {}, "quoted-printable"),
            ("grün", {}, "quoted-printable"),
            ("привет", {}, "base64"),
            ("nul \0", {}, "quoted-printable"),
            ("plain", {"encoding": "base64"}, "base64"),
            ("привет", {"textEncoding": "quoted-printable"}, "quoted-printable"),
            ("grün", {"textEncoding": "B"}, "base64"),
        ):
            found = read(write(text=given, **wish))
            self.assertEqual(found["Content-Transfer-Encoding"], encoding)
            self.assertEqual(found.get_payload(decode=True), given.encode())


class ReadBack(SynchronousTestCase):
    @hypothesis.given(st.lists(st.sampled_from((b"\r\n", b"\n", b"\r", b" .", b"= ", b"x" * 75, b"\xff"))))
    def test_quoted_printable(self, pieces: list[bytes]) -> None:
        """Each octet comes back, in short lines with CRLF alone."""
        data = b"".join(pieces)
        text = written(data, "quoted-printable")
        self.assertEqual(a2b_qp(text), data)
        self.assertEqual(text.count(b"\r"), text.count(b"\r\n"))
        self.assertEqual(text.count(b"\n"), text.count(b"\r\n"))
        self.assertLessEqual(max(map(len, text.split(b"\r\n"))), 76)

    @hypothesis.given(LINES, LINES, TEXTS, TEXTS, LINES.filter(bool), st.binary(max_size=300))
    @hypothesis.settings(max_examples=150, deadline=None)
    def test_by_email(self, subject: str, name: str, text: str, html: str, filename: str, data: bytes) -> None:
        """Both of Python's parsers find what was put in."""
        one = write(
            **{"from": {"name": name, "address": "a@example.com"}},
            subject=subject,
            text="t" + text,
            html="h" + html,
            headers={"X-Note": subject},
            attachments=[{"filename": filename, "content": data.hex(), "encoding": "hex"}],
        )
        raw = text_of(one)
        self.assertTrue(raw.isascii())
        self.assertEqual(raw.replace(b"\r\n", b"").count(b"\r") + raw.replace(b"\r\n", b"").count(b"\n"), 0)
        self.assertLessEqual(max(map(len, raw.split(b"\r\n"))), 998)
        for message in (read(one), message_from_bytes(raw)):
            self.assertEqual(message.defects, [])
            forms, file = message.get_payload()  # type: ignore[misc, union-attr]
            for part, said in zip(forms.get_payload(), ("t" + text, "h" + html), strict=True):  # type: ignore[union-attr, arg-type]
                self.assertEqual(lines(part.get_payload(decode=True).decode()), lines(said))  # type: ignore[union-attr]
            self.assertEqual(file.get_payload(decode=True), data)  # type: ignore[union-attr]
            self.assertEqual(file.get_filename(), filename)  # type: ignore[union-attr]
        newer = read(one)
        self.assertEqual((str(newer.get("Subject", "")), str(newer.get("X-Note", ""))), (subject, subject))
        self.assertEqual(newer["From"].addresses[0].addr_spec, "a@example.com")


class Headers(SynchronousTestCase):
    def header(self, name: str, **fields: Any) -> list[str]:
        return message_from_bytes(text_of(write(**fields))).get_all(name, [])

    def test_forms(self) -> None:
        for headers in (
            {"X-A": "1", "X-B": ["2", "3"]},
            [{"key": "X-A", "value": "1"}, {"key": "X-B", "value": ["2", "3"]}],
            {"X-A": 1, "X-B": [2, {"prepared": True, "value": "3"}], "X-C": None, "X-D": "", "X-E": []},
        ):
            one = write(headers=headers)
            self.assertEqual((read(one).get_all("X-A"), read(one).get_all("X-B")), (["1"], ["2", "3"]))
            self.assertNotIn(b"X-C", text_of(one))
        self.assertEqual(self.header("X-F", headers={"X-F": [1.5, True, False, -3]}), ["1.5", "true", "false", "-3"])

    def test_what_the_mail_says_counts_more(self) -> None:
        headers = {"Subject": "no", "From": "no@x.de", "References": "<r@x>", "MIME-Version": "9", "Bcc": "c@x.de"}
        one = write(subject="yes", headers=headers)
        found = read(one)
        self.assertEqual((found.get_all("Subject"), found.get_all("From")), (["yes"], ["a@example.com"]))
        self.assertEqual((found.get_all("References"), found.get_all("MIME-Version")), (["<r@x>"], ["1.0"]))
        self.assertIsNone(found["Bcc"])
        self.assertEqual(one.recipients, ("b@example.net", "c@x.de"))

    def test_identifiers(self) -> None:
        self.assertEqual(self.header("Message-ID", messageId="1@x"), ["<1@x>"])
        self.assertEqual(self.header("In-Reply-To", inReplyTo="<1@x>"), ["<1@x>"])
        self.assertEqual(self.header("References", references="1@x <2@x><3@x>"), ["<1@x> <2@x> <3@x>"])
        [value] = self.header("References", references=[f"{n:040}@x" for n in range(100)])
        self.assertEqual(value.split(), [f"<{n:040}@x>" for n in range(100)])

    def test_dates(self) -> None:
        same = "Fri, 27 Nov 2026 15:00:00 +0000"
        for given in ("2026-11-27T15:00:00.000Z", "2026-11-27T16:00:00+01:00", "2026-11-27 15:00", 1795791600000, same):
            self.assertEqual(self.header("Date", date=given), [same])
        own = "Fri, 27 Nov 2026 16:00:00 +0100"
        self.assertEqual(self.header("Date", date=own), [own])

    def test_lists(self) -> None:
        url = "https://example.com/unsubscribe/" + "t" * 300
        one = write(
            list={
                "help": "help@example.com?subject=help",
                "unsubscribe": [{"url": url, "comment": "(one) click"}, ["x@example.com", "example.com/ü"]],
                "id": {"url": "news.example.com", "comment": "Our \"news\""},
            }
        )  # fmt: skip
        raw = text_of(one).replace(b"\r\n ", b" ").decode()
        self.assertIn("List-Help: <mailto:help@example.com?subject=help>\r\n", raw)
        self.assertIn(
            f"List-Unsubscribe: <{url}> (\\(one\\) click), <mailto:x@example.com>, <http://example.com/%C3%BC>\r\n", raw
        )
        self.assertIn('List-ID: "Our \\"news\\"" <news.example.com>\r\n', raw)

    def test_priority(self) -> None:
        self.assertEqual(self.header("Importance", priority="High"), ["High"])
        self.assertEqual(self.header("X-Priority", priority="low"), ["5 (Lowest)"])
        self.assertEqual(self.header("X-MSMail-Priority", priority="high"), [])
        self.assertEqual(self.header("X-Priority", priority="normal"), [])


class Envelopes(SynchronousTestCase):
    def test_from_the_header(self) -> None:
        one = write(to=["b@x.de", "G: c@x.de;"], cc="B@X.DE", bcc={"address": "d@x.de"}, replyTo="r@x.de")
        self.assertEqual((one.sender, one.recipients), ("a@example.com", ("B@x.de", "c@x.de", "d@x.de")))
        self.assertNotIn(b"d@x.de", text_of(one))

    def test_stated(self) -> None:
        one = write(envelope={"from": "Bounces <e@x.de>", "to": ["f@x.de"], "cc": "g@x.de"})
        self.assertEqual((one.sender, one.recipients), ("e@x.de", ("f@x.de", "g@x.de")))
        self.assertEqual(read(one)["From"], "a@example.com")
        for null in (False, ""):
            self.assertEqual(write(envelope={"from": null}).sender, "")
        self.assertEqual(write(envelope={"from": "e@x.de"}).recipients, ("b@example.net",))

    def test_several_authors(self) -> None:
        two = "a@example.com, z@example.com"
        self.assertEqual(write(**{"from": two}, sender="z@example.com").sender, "z@example.com")
        with self.assertRaises(Unfit) as caught:
            write(**{"from": two})
        self.assertEqual(caught.exception.field, "sender")

    def test_beyond_ascii(self) -> None:
        self.assertFalse(write(to="Zoë <z@exämple.de>").utf8)
        self.assertTrue(write(to="zoë@x.de").utf8)
        self.assertTrue(write(replyTo="zoë@x.de").utf8)

    def test_raw(self) -> None:
        text = "From: q@x.de\nTo: p@x.de\n\nhi\rthere"
        for raw in (text, {"content": text}, {"raw": text}, {"type": "Buffer", "data": list(text.encode())}):
            one = letter(mail({"raw": raw}), "seed", max_size=SIZE, max_recipients=10)
            self.assertEqual(one, Letter(None, None, False, (b"From: q@x.de\r\nTo: p@x.de\r\n\r\nhi\r\nthere",)))
        one = write(raw=text, envelope={"from": "e@x.de"})
        self.assertEqual((one.sender, one.recipients), ("e@x.de", ("b@example.net",)))
        self.assertEqual(write(raw=text).sender, "a@example.com")
        self.assertEqual(text_of(write(raw="all body")), b"\r\nall body")

    def test_to_each(self) -> None:
        one = mail({**BASE, "to": "B <b@x.de>, c@x.de, C@x.de", "text": "hi", "html": "<p>"})
        letters = to_each(one, "seed", max_size=SIZE, max_recipients=10)
        self.assertEqual([one.recipients for one in letters], [("b@x.de",), ("C@x.de",)])
        self.assertEqual([read(one)["To"] for one in letters], ["B <b@x.de>", "C@x.de"])
        self.assertIs(letters[0].pieces[2], letters[1].pieces[2])


class Refused(SynchronousTestCase):
    def test_H04_the_field_is_named(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"subject": 5}, "subject"),
            ({"text": []}, "text"),
            ({"to": 5}, "to"),
            ({"to": [["a@b.de", 5]]}, "to[0][1]"),
            ({"to": {"name": "x"}}, "to.address"),
            ({"to": ["a@b.de", "x"]}, "to[1]"),
            ({"from": None}, "from"),
            ({"from": "G:;"}, "from"),
            ({"attachments": {}}, "attachments"),
            ({"attachments": [{"filename": 5}]}, "attachments[0].filename"),
            ({"attachments": [{"contentType": "x"}]}, "attachments[0].contentType"),
            ({"attachments": [{"contentType": "multipart/mixed"}]}, "attachments[0].contentType"),
            ({"attachments": [{"content": "é", "encoding": "base64"}]}, "attachments[0].content"),
            ({"attachments": [{"content": "x", "encoding": "rot13"}]}, "attachments[0].encoding"),
            ({"attachments": [{"content": {"data": [300]}}]}, "attachments[0].content.data"),
            ({"attachments": [{"contentDisposition": "a; b"}]}, "attachments[0].contentDisposition"),
            ({"attachments": [{}] * 501}, "attachments"),
            ({"headers": {"Content-Type": "text/html"}}, "headers.Content-Type"),
            ({"headers": {"a b": "x"}}, "headers.a b"),
            ({"headers": {"List-Help": "<ü>"}}, "headers.List-Help"),
            ({"headers": {"Subject": ["a", "b"]}}, "headers.Subject"),
            ({"headers": {"X": ["v"] * 1001}}, "headers"),
            ({"headers": [{"key": "X", "value": "a" * 40_000}]}, "headers[0]"),
            ({"date": "yesterday"}, "date"),
            ({"date": 1e300}, "date"),
            ({"date": -1}, "date"),
            ({"priority": "urgent"}, "priority"),
            ({"messageId": "a b"}, "messageId"),
            ({"inReplyTo": "<ü@x>"}, "inReplyTo"),
            ({"references": ["<a\nb>"]}, "references"),
            ({"list": {"help": {"url": "x", "comment": "ü"}}}, "list.help"),
            ({"list": {"he lp": "x"}}, "list.he lp"),
            ({"encoding": "uu"}, "encoding"),
            ({"icalEvent": {"content": "x", "method": "a;b"}}, "icalEvent.method"),
            ({"envelope": {"from": "x"}}, "envelope.from"),
            ({"to": [f"u{n}@x.de" for n in range(11)]}, "to"),
            ({"raw": "a: b\n\n\0"}, "raw"),
            ({"html": "<img src=data:text/html,x>", "attachDataUrls": True}, "html"),
        ]
        for fields, name in cases:
            with self.assertRaises(Unfit, msg=str(fields)[:200]) as caught:
                write(**fields)
            self.assertEqual(caught.exception.field, name)
            self.assertTrue(caught.exception.text)

    def test_H06_no_line_end_gets_into_a_header(self) -> None:
        evil = "x\r\nBcc: evil@example.com"
        for fields in (
            {"subject": evil}, {"from": f"{evil} <a@x.de>"}, {"to": {"name": evil, "address": "a@x.de"}},
            {"to": {"address": f"a@x.de{evil}"}}, {"headers": {evil: "x"}}, {"headers": {"X": evil}},
            {"headers": {"X": {"prepared": True, "value": evil}}}, {"messageId": evil}, {"references": evil},
            {"attachments": [{"filename": evil}]}, {"attachments": [{"cid": evil}]},
            {"attachments": [{"contentType": f"text/plain; x={evil}"}]}, {"attachments": [{"headers": {"X": evil}}]},
            {"attachments": [{"contentDisposition": evil}]}, {"attachments": [{"path": f"data:image/png{evil},x"}]},
            {"list": {"help": evil}}, {"list": {evil: "x"}}, {"list": {"id": {"url": "x", "comment": evil}}},
            {"xMailer": evil}, {"date": evil}, {"envelope": {"to": f"a@x.de{evil}"}}, {"replyTo": evil},
            {"icalEvent": {"content": "x", "method": evil}}, {"alternatives": [{"contentType": evil}]},
        ):  # fmt: skip
            self.assertRaises(Unfit, write, **cast("dict[str, Any]", fields))

    def test_H10_no_file_and_no_page(self) -> None:
        for fields, said in (
            ({"attachments": [{"path": "/etc/passwd"}]}, "File access rejected for /etc/passwd"),
            ({"attachments": [{"path": "https://169.254.169.254/"}]}, "Url access rejected for https://169.254.169.254/"),
            ({"attachments": [{"href": "file:///etc/passwd"}]}, "Url access rejected for file:///etc/passwd"),
            ({"attachments": [{"content": {"path": "keys/a.pem"}}]}, "File access rejected for keys/a.pem"),
            ({"html": {"path": "/x\n" + "y" * 300}}, "File access rejected for /x?" + "y" * 197),
            ({"text": {"href": "http://localhost"}}, "Url access rejected for http://localhost"),
            ({"alternatives": [{"path": "x"}]}, "File access rejected for x"),
            ({"icalEvent": {"path": "x"}}, "File access rejected for x"),
            ({"raw": {"path": "x"}}, "File access rejected for x"),
            ({"attachments": [{"raw": {"path": "x"}}]}, "File access rejected for x"),
        ):
            with self.assertRaises(Rejected) as caught:
                write(**cast("dict[str, Any]", fields))
            self.assertEqual(caught.exception.text, said)

    def from_json(self, body: bytes) -> None:
        mail = decoded(lambda: msgspec.json.decode(body, type=MailObject))
        letter(mail, "seed", max_size=SIZE, max_recipients=10)

    def test_H01_H02_H03_no_mail_object(self) -> None:
        for body in (
            b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"x":' + b"[" * 100_000, b'{"date":1e999}',
            b'{"date":NaN}', b"[]", b"5", b'{"date":' + b"9" * 5000 + b"}",
        ):  # fmt: skip
            self.assertRaises(Unfit, self.from_json, body)

    def test_H05_halves_of_surrogate_pairs(self) -> None:
        for field in ("subject", "text", "html", "from"):
            body = b'{"from":"a@x.de","to":"b@x.de","%b":"x \\ud83d <c@x.de>"}' % field.encode()
            self.assertRaises(Unfit, self.from_json, body)

    def test_H08_unknown_fields_mean_nothing(self) -> None:
        self.assertEqual(text_of(write(__proto__={"a": 1}, __class__="x", dkim={"privateKey": "k"})), text_of(write()))

    def test_nobody_and_too_much(self) -> None:
        for fields in ({"to": None}, {"to": "G:;"}, {"to": []}, {"envelope": {"to": []}}):
            with self.assertRaises(Nobody):
                write(**cast("dict[str, Any]", fields))
        with self.assertRaises(TooLarge):
            write(text="x" * SIZE)
        several = mail({**BASE, "to": [f"u{n}@x.de" for n in range(15)], "text": "x\n" * (SIZE // 4)})
        with self.assertRaises(TooLarge):
            to_each(several, "seed", max_size=SIZE - 200_000, max_recipients=20)
        self.assertEqual(len(to_each(several, "seed", max_size=SIZE + 200_000, max_recipients=20)), 15)

    def test_base64_in_any_shape(self) -> None:
        for text, data in (
            ("", b""), ("QQ", b"A"), ("QQ==", b"A"), (" Q\r\nUI=\t", b"AB"), ("-_8", b"\xfb\xff"),
            ("+/8=", b"\xfb\xff"),
        ):  # fmt: skip
            self.assertEqual(unbase64(text), data)
        for text in ("Q", "Q=Q", "Q?Q=", "QQQQQ", "ÄQ=="):
            self.assertRaises(ValueError, unbase64, text)
