"""A message as a form: what independent parsers read of it is what was put in, whatever that was."""

from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import HTTP
from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.formparser import MultiPartParser

from relay.delivery.form import Form
from relay.delivery.summary import summary
from tests.unit.test_session import offer

HEADERS = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@from.test>\r\nTo: \"A, B\" <a@to.test>,\r\n c@to.test\r\nCc: d@to.test\r\n"
    b"Reply-To: r@from.test\r\nSubject: =?utf-8?b?w6TDtg==?= x\r\nMessage-ID: <1@from.test>\r\nDate: never\r\n"
    b"References: <0@from.test>\r\nIn-Reply-To: <0@from.test>\r\nSender: s@from.test\r\n"
)


def written(headers: bytes = b"Subject: x\r\n", body: bytes = b"hello\r\n", **changes: Any) -> tuple[Form, bytes]:
    """A form, and all that goes out with it."""
    head = b"Received: from x\r\n" + headers + b"\r\n"
    form = Form(offer(headers=headers, body=body, body_size=len(body), **changes), head)
    return form, form.before + head + body + form.after


def read(form: Form, whole: bytes) -> tuple[dict[str, str], bytes]:
    """The fields and the message, by werkzeug."""
    boundary = form.kind.partition(b"boundary=")[2]
    fields, files = MultiPartParser().parse(BytesIO(whole), boundary, len(whole))
    (file,) = files.getlist("message")
    assert len(files) == 1 and file.mimetype == "message/rfc822", files
    assert file.filename == "0123456789abcdef01.eml", file.filename
    assert all(len(fields.getlist(name)) == 1 for name in fields)
    return fields.to_dict(), file.read()


class FormTests(SynchronousTestCase):
    def test_fields(self) -> None:
        fields, message = read(*written(HEADERS))
        self.assertEqual(message, b"Received: from x\r\n" + HEADERS + b"\r\nhello\r\n")
        told = {name[8:-1]: json.loads(fields.pop(name)) for name in list(fields) if name.startswith("headers[")}
        self.assertEqual(
            fields,
            {
                "id": "0123456789abcdef01.001", "from": "a@from.test", "to": "b@to.test",
                "mail_to_http[from]": "a@from.test", "mail_to_http[rcpt]": "b@to.test",
                "mail_to_http[real_length]": str(len(message)),
            },
        )  # fmt: skip
        self.assertEqual(
            told,
            {
                "from": [{"name": "Jürgen", "address": "j@from.test"}],
                "to": [{"name": "A, B", "address": "a@to.test"}, {"name": "", "address": "c@to.test"}],
                "cc": [{"name": "", "address": "d@to.test"}],
                "reply_to": {"name": "", "address": "r@from.test"},
                "sender": {"name": "", "address": "s@from.test"},
                "subject": "äö x", "message_id": "<1@from.test>", "date": "never",
                "references": "<0@from.test>", "in_reply_to": "<0@from.test>",
            },
        )  # fmt: skip

    def test_the_parser_of_mail_reads_the_same(self) -> None:
        form, whole = written(HEADERS)
        parsed = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + form.kind + b"\r\n\r\n" + whole)
        names = [part.get_param("name", header="content-disposition") for part in parsed.iter_parts()]
        self.assertEqual((names[0], names[-1], len(set(names))), ("id", "message", len(names)))

    @given(st.text(max_size=40).filter(str.isprintable), st.binary(max_size=300), st.binary(max_size=99))
    def test_nothing_in_a_message_changes_the_form(self, address: str, value: bytes, body: bytes) -> None:
        """No address, header or text makes a part, or ends one."""
        subject, author = (text.replace(b"\r", b"").replace(b"\n", b"\r\n ") for text in (value, body[:20]))
        headers = b"Subject: " + subject + b"\r\nFrom: " + author + b"\r\n"
        body = b'\r\n--zonerelay\r\nContent-Disposition: form-data; name="id"\r\n\r\nx' + body
        fields, message = read(*written(headers, body, sender=address, recipient=address))
        self.assertEqual((fields["from"], fields["to"], fields["id"]), (address, address, "0123456789abcdef01.001"))
        self.assertTrue(message.endswith(b"\r\n\r\n" + body))
        for name, text in fields.items():
            if name.startswith("headers["):
                json.loads(text)

    def test_each_form_has_a_boundary_of_its_own(self) -> None:
        self.assertEqual(len({written()[0].kind for _ in range(20)}), 20)


class SummaryTests(SynchronousTestCase):
    def test_what_is_too_long_or_makes_no_sense_is_left_out(self) -> None:
        for hostile in (b"(" * 9000, b"a@b.test, " * 4000, b"<" * 16000):
            told = dict(summary(b"From: " + hostile + b"\r\nTo: x@to.test\r\n"))
            self.assertEqual(json.loads(told["to"]), [{"name": "", "address": "x@to.test"}])
        self.assertEqual(dict(summary(b"Subject: " + b"x" * 20_000 + b"\r\n")), {})
        self.assertEqual(dict(summary(b"")), {})

    def test_words_that_can_not_be_decoded_stand_as_they_are(self) -> None:
        for text in ("=?nonsense?q?x?=", "=?utf-8?b?=", "=?zip?b?eA==?=", "=?idna?q?" + "a" * 90 + "?="):
            told = dict(summary(f"Subject: {text}\r\n".encode()))
            self.assertEqual(json.loads(told["subject"]), text)
