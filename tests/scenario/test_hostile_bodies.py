"""Hostile bodies for everything that takes one: what the document declares is what is swept.

Rows H01-H09 and H21. Nothing is answered with 5xx or shows the inside of the relay, what is refused is named, and what
is taken can be delivered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

from tests.peers.asker import Asker, Said, request
from tests.scenario.asking import Asked, Asking

JSON = "application/json"
PROBLEM = "application/problem+json"
FORM = "application/x-www-form-urlencoded"
#: What fits the fields of that name, wherever they are asked for.
FITTING = {
    "from": "from@src.test",
    "to": "ok+swept@evil.test",
    "subject": "hello",
    "text": "hello",
    "raw": "From: <from@src.test>\r\n\r\nhello\r\n",
    "recipient": "ok+swept@evil.test",
    "address": "swept@swept.test",
    "domain": "swept.test",
    "email": "swept@swept.test",
}
#: Of which none is a whole text in JSON, or an object.
NO_OBJECTS = (
    b"", b" ", b"{", b"}", b"null", b"true", b"1", b'"x"', b"{'a': 1}", b'{"a": 1,}', b'{"a" 1}', b'{"a": 1}}', b"{}{}",
    b"\0", b"{}\0", b"\xff", b'{"a": "\xff"}', b'{"\xff": 1}', b'{"a": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"), "{}".encode("utf-16-be"), "{}".encode("utf-32"), b"\x1f\x8b\x08\0\0\0\0\0",
    b"--x\r\n\r\n{}\r\n--x--", b"<a/>",
    b"a: b", b'{"a": "\n"}', b'{"a": 01}', b'{"a": "\\x"}', b'{"a": "\\u12"}', b"{" + b" " * 60_000,
)  # fmt: skip
NO_FIELDS = (
    b"a=%ff", b"%=%&%zz", b"a=1&" * 10_000, b"=" * 60_000, b"id=%00&to=%0d%0aX-Injected:1", b'"', b'a,"b\r\n' * 1000,
    b"," * 60_000, b"a@b.test\0,x", b"\r" * 1000,
)  # fmt: skip
DEEP = (b"[" * 60_000, b'{"a":' * 10_000, b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000)
NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000, b"0x10", b"+1", b".5")
#: Of every kind, and none of them what most fields are for.
KINDS = (None, True, 7, -1, 1.5, 1 << 63, "", [], {}, [[]], [None], [7], {"a": {"b": {}}}, {"$buffer": 7})
TEXTS = (
    "\0", "a\0b", "\x1b[2J\x1b]0;x\x07", "\u202egpj.exe", "\u2028", "\x85", "\x7f", "\ufffe", "\U0010ffff", "é" * 300,
)  # fmt: skip
LINES = (
    "a\r\nX-Injected: 1", "a\nX-Injected: 1", "a\rX-Injected: 1", "a\r\n\r\nX-Injected: 1",
    "a\r\n.\r\nX-Injected: 1", "a>\r\nRCPT TO:<ok+hidden@evil.test", "ok+hidden@evil.test\r\nDATA",
    "a\r\nBcc: ok+hidden@evil.test",
)  # fmt: skip
ADDRESSES = (
    "a", "@", "a@", "@b", "a@b@c", "a b@c.test", "<a@b.test", "a@b.test>", "a@[127.0.0.1]", "a@[::1]", "a@127.0.0.1",
    "a@-b.test", "a@b..test", ".a@b.test", "a..b@c.test", '"a@b.test', "a@" + "b" * 300, "a" * 300 + "@b.test",
    "a@" + "b." * 200 + "test", "a@localhost", "root", "postmaster", "|/bin/sh@b.test", "-oQ/tmp@b.test", "a%b@c.test",
    "@a.test:b@c.test", "é@b.test", "a@é.test", "a@xn--.test", "a@\u202etest", "a@b.test,", ",", ";", ":;", "x:;", "()",
)  # fmt: skip
NAMES = ("__proto__", "__class__", "constructor", "self", "request", "", "a.b", "$ref", "x" * 5000, "é", "\0", "a\r\nb")
CONTENTS = (
    "text/plain", "application/xml", "application/json; charset=utf-16", "application/json; charset=x", FORM,
    "multipart/form-data; boundary=x", "x", "/", ";", "a/b" * 500, "application/json\t",
)  # fmt: skip
#: What no client may learn of us.
INSIDE = ("Traceback", "site-packages", ".py", "Error(", "0x7f", "msgspec", "twisted", "klein")


class Bodies(Asking):
    """Every operation that takes a body, with what no field is for."""

    def setUp(self) -> None:
        self._kept: Asker | None = None
        super().setUp()
        self.schemas = self.document()["components"]["schemas"]
        self.swept = [asked for asked in self.operations() if asked.takes]
        paths = {asked.path for asked in self.swept}
        self.assertLessEqual({"/send", "/sendemail", "/send-raw", "/suppressionlist"}, paths)
        self.assertLessEqual({"/v1/messages", "/v1/queue/actions", "/v1/holds", "/v1/keys", "/v1/sessions"}, paths)

    def unharmed(self) -> None:
        """Besides, what was held by the way is let go."""
        self._kept = None  # it is closed by now
        self.clear()
        if self._kept is not None:
            self._kept.close()
        super().unharmed()
        for path in Path(self.directory).glob("*.eml"):
            self.assertIsNone(message_from_bytes(path.read_bytes())["X-Injected"], path)

    def clear(self) -> None:
        for hold in json.loads(self.told("GET", "/v1/holds").body)["holds"]:
            self.assertIn(self.told("DELETE", f"/v1/holds/{hold['id']}").status, (200, 204))

    def told(self, method: str, path: str, body: bytes | None = None, *fields: str) -> Said:
        """The answer, by a connection that is kept as long as it may be."""
        if self._kept is None or self._kept.ended:
            self._kept = self.ask()
        said = self._kept.say(request(method, path, body, *fields))
        if said.fields.get("connection") == "close":
            self._kept.close()
            self._kept = None
        return said

    def sweep(self, asked: Asked, body: bytes, kind: str = "") -> Said:
        """One body; what is said to it is fit to be seen."""
        said = self.told(asked.method, asked.path, body, f"Content-Type: {kind or asked.takes}")
        about = f"{asked} {body[:200]!r}: {said}"
        self.assertLess(said.status, 500, about)
        self.assertFalse([word for word in INSIDE if word in said.body.decode()], about)
        self.assertNotIn("x-injected", said.fields, about)
        if said.status >= 400:
            self.assertEqual(PROBLEM if asked.path.startswith("/v1/") else JSON, said.fields.get("content-type"), about)
            self.assertTrue(self.words(said), about)
        return said

    def words(self, said: Said) -> str:
        """What is wrong, in words."""
        told = json.loads(said.body)
        return str(told.get("detail") or told.get("message") or told.get("error") or "")

    def objects(self) -> Iterator[tuple[Asked, dict[str, Any], dict[str, Any]]]:
        """Each operation that takes an object in JSON, a body that may fit it, and what its fields are."""
        for asked in self.swept:
            if asked.takes == JSON:
                fields = self.fields(asked.schema)
                self.assertTrue(fields, asked)
                required = self.resolved(asked.schema).get("required", [])
                known = {name: FITTING[name] for name in fields if name in FITTING}
                yield asked, {**{name: self.fitting(fields[name]) for name in required}, **known}, fields

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of an object that may be meant: of a list, that of what is in it."""
        while True:
            if "$ref" in schema:
                schema = self.schemas[schema["$ref"].rpartition("/")[2]]
            elif "anyOf" in schema:
                schema = schema["anyOf"][0]
            elif schema.get("type") == "array" and "items" in schema:
                schema = schema["items"]
            else:
                return schema

    def fields(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.resolved(schema).get("properties", {})
        return found

    def fitting(self, schema: dict[str, Any]) -> Any:
        """Something that a field of this kind may be."""
        schema = self.resolved(schema)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "object")
        if kind == "object":
            return {name: self.fitting(schema["properties"][name]) for name in schema.get("required", [])}
        return {"string": "swept", "integer": 1, "number": 1, "boolean": True, "array": [], "null": None}[kind]

    # -- the rows

    def test_H01_H02_no_object(self) -> None:
        """Odd JSON, odd encodings, nesting without end: 400, or 413."""
        for asked in self.swept:
            if asked.takes == JSON:
                for body in (*NO_OBJECTS, *DEEP):
                    said = self.sweep(asked, body)
                    if b'"error"' not in said.body:  # the original says so with 200
                        self.assertIn(said.status, (400, 413), (str(asked), body[:40], said))

    def test_H01_no_form_and_no_table(self) -> None:
        """What isn't JSON is read as bytes, and as few."""
        for asked in self.swept:
            if asked.takes == JSON:
                continue
            for body in (*NO_OBJECTS, *NO_FIELDS):
                self.sweep(asked, body)

    def test_H02_deep_in_a_field(self) -> None:
        for asked, fits, fields in self.objects():
            for name in fields:
                for deep in (b"[" * 5000 + b"]" * 5000, b'{"a":' * 2000 + b"1" + b"}" * 2000):
                    said = self.sweep(asked, with_raw(fits, name, deep))
                    self.assertEqual(400, said.status, (str(asked), name))

    def test_H03_no_numbers(self) -> None:
        for asked, fits, fields in self.objects():
            for name in fields:
                for number in NO_NUMBERS:
                    said = self.sweep(asked, with_raw(fits, name, number))
                    self.assertEqual(400, said.status, (str(asked), name, number, said))

    def test_H04_any_kind_in_any_field(self) -> None:
        """What can't stand is named, and so is what is missing."""
        for asked, fits, fields in self.objects():
            for name in fields:
                for value in KINDS:
                    said = self.sweep(asked, json.dumps({**fits, name: value}).encode())
                    self.named(asked, said, name, value)
            for name in self.resolved(asked.schema).get("required", []):
                rest = {key: value for key, value in fits.items() if key != name}
                said = self.sweep(asked, json.dumps(rest).encode())
                self.named(asked, said, name, "missing")
                self.assertEqual(400, said.status, (str(asked), name))
            self.clear()

    def named(self, asked: Asked, said: Said, name: str, value: Any) -> None:
        """An answer of 400 says which field it is about; one is enough where several are wrong together."""
        if said.status == 400:
            told = json.loads(said.body)
            is_named = told.get("field") or name in self.words(said) or told.get("error")
            self.assertTrue(is_named, (str(asked), name, value, told))

    def test_H04_a_megabyte_in_a_field(self) -> None:
        for asked, fits, fields in self.objects():
            for name in list(fields)[:8]:
                self.sweep(asked, json.dumps({**fits, name: "x" * (1 << 20)}).encode())

    def test_H05_halves_of_surrogates(self) -> None:
        """They are no text; what can't be encoded isn't kept."""
        for asked, fits, fields in self.objects():
            for name in fields:
                for half in (b'"\\ud800"', b'"\\udfff"', b'"\\udc00\\ud800"', b'["\\ud83d"]', b'{"\\ud800": "x"}'):
                    said = self.sweep(asked, with_raw(fits, name, half))
                    self.assertEqual(400, said.status, (str(asked), name, half))

    def test_H05_controls_and_other_directions(self) -> None:
        for asked, fits, fields in self.objects():
            for name in fields:
                for text in TEXTS:
                    self.sweep(asked, json.dumps({**fits, name: text}).encode())
            self.clear()

    def test_H06_line_ends(self) -> None:
        """In values and in names: what leaves has no field and no recipient that nobody has asked for."""
        for asked, fits, fields in self.objects():
            for text in LINES:
                for name in fields:
                    self.sweep(asked, json.dumps({**fits, name: text}).encode())
                self.sweep(asked, json.dumps({**fits, text: "x"}).encode())
                self.sweep(asked, json.dumps({**fits, "headers": {text: "x"}}).encode())
                self.sweep(asked, json.dumps({**fits, "headers": {"x": text}}).encode())
            self.clear()
        for asked in self.swept:
            for text in ("%0d%0aX-Injected:%201", "%0aX-Injected:%201"):
                said = self.told(asked.method, f"{asked.path}?{text}={text}&from={text}&to={text}", b"x")
                self.assertLess(said.status, 500, (str(asked), said))
                self.assertNotIn("x-injected", said.fields, str(asked))

    def test_H07_addresses_that_are_none(self) -> None:
        for asked, fits, fields in self.objects():
            for name in {"from", "to", "cc", "bcc", "sender", "replyTo", "recipient", "address"}.intersection(fields):
                for text in ADDRESSES:
                    self.sweep(asked, json.dumps({**fits, name: text}).encode())
                    self.sweep(asked, json.dumps({**fits, name: [text, {"name": "x", "address": text}]}).encode())
            self.clear()

    def test_H07_a_hundred_thousand_recipients(self) -> None:
        taken = len(self.mx.accepted())
        many = [f"ok+hidden{number}@evil.test" for number in range(100_000)]
        for asked, fits, fields in self.objects():
            for name in {"to", "cc", "bcc", "recipient"}.intersection(fields):
                said = self.sweep(asked, json.dumps({**fits, name: many}).encode())
                self.assertIn(said.status, (400, 413), (str(asked), name))
        # A query has no room for more.
        query = ",".join(many[:600]).replace("+", "%2B")
        self.assertEqual(400, self.told("POST", f"/send-raw?to={query}", b"x").status)
        self.assertEqual(400, self.told("POST", "/send-raw?" + "&".join(["to=a@b.c"] * 1400), b"x").status)
        text = b"From: <a@src.test>\r\nCc: %b\r\n\r\nx\r\n" % ",\r\n ".join(many).encode()
        self.assertIn(self.told("POST", "/send-raw", text).status, (400, 413, 503))
        self.settle()
        self.assertEqual(taken, len(self.mx.accepted()))

    def test_H08_fields_that_there_are_not(self) -> None:
        """Refused, or nothing happens: no name leads anywhere else."""
        for asked, fits, _ in self.objects():
            for name in NAMES:
                said = self.sweep(asked, json.dumps({**fits, name: {"x": "y"}}).encode())
                if asked.path.startswith("/v1/"):
                    self.assertEqual(400, said.status, (str(asked), name, said))
                self.clear()

    def test_H09_other_kinds_of_content(self) -> None:
        """A body is what it is, whatever it is called: read as UTF-8, or refused."""
        for asked, fits, _ in self.objects():
            body = json.dumps(fits).encode()
            for kind in CONTENTS:
                self.sweep(asked, body, kind)
            self.sweep(asked, json.dumps(fits).encode("utf-16"), "application/json; charset=utf-16")
            self.clear()

    def test_H21_pages_of_others(self) -> None:
        """What a page elsewhere can send without being asked is refused, before its body counts."""
        taken = len(self.mx.accepted())
        for asked in self.operations():
            if asked.method == "GET" or asked.path.startswith("/unsubscribe"):
                continue
            for fields in (
                ["Origin: http://evil.test", "Content-Type: text/plain"],
                ["Origin: null", f"Content-Type: {FORM}"],
                ["Sec-Fetch-Site: cross-site", "Content-Type: text/plain"],
                ["Origin: http://127.0.0.1:1", "Content-Type: text/plain"],
                ["Host: evil.test", "Origin: http://evil.test"],
            ):
                said = self.told(asked.method, asked.path, json.dumps(FITTING).encode(), *fields)
                self.assertEqual(403, said.status, (str(asked), fields))
                self.assertNotIn("access-control-allow-origin", said.fields)
        self.settle()
        self.assertEqual(taken, len(self.mx.accepted()))


def with_raw(fits: dict[str, Any], name: str, raw: bytes) -> bytes:
    """A body in JSON with these characters as one of its values."""
    rest = json.dumps({key: value for key, value in fits.items() if key != name}).encode()
    return b"%b%b%b: %b}" % (rest[:-1], b", " if len(rest) > 2 else b"", json.dumps(name).encode(), raw)
