"""Fields, encoded words, parameters and lists of addresses: what is written can be read, and nothing else is in it."""

from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import parse
from relay.mime import parameter
from relay.mime.field import folded, structured, unstructured
from relay.mime.mailbox import Group, Mailbox, address_field, flat, mailboxes
from relay.mime.unfit import Unfit, one_line
from relay.mime.words import encoded

#: What people write: any letters, on one line.
LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
LINES = st.text(LETTERS, max_size=300).map(lambda text: " ".join(text.split())).filter(lambda text: "=?" not in text)


def read(header: str) -> EmailMessage:
    """By Python's newer parser."""
    return cast(EmailMessage, message_from_bytes(header.encode() + b"\r\n", policy=SMTP))


def widths(header: str) -> list[int]:
    return [len(line.encode()) for line in header.split("\r\n")]


class Folding(SynchronousTestCase):
    @given(LINES)
    def test_people_read_what_was_written(self, text: str) -> None:
        header = unstructured("subject", "Subject", text)
        self.assertTrue(header.isascii())
        self.assertLessEqual(max(widths(header)), 998)
        self.assertEqual(str(read(header).get("Subject", "")), text)
        raw = message_from_bytes(header.encode() + b"\r\n").get("Subject", "")
        self.assertEqual(str(make_header(decode_header(raw.replace("\r\n", "")))), text)

    @given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200), min_size=1))
    def test_folds_are_at_blanks_that_were_there(self, words: list[str]) -> None:
        text = " ".join(words)
        header = structured("x", "List-Unsubscribe", text)
        self.assertEqual(header.replace("\r\n", ""), f"List-Unsubscribe: {text}")
        self.assertNotIn("=?utf-8?", header.replace(text, ""))
        for line in header.split("\r\n")[:-1]:
            self.assertTrue(line.strip())
            self.assertTrue(len(line) <= 78 or " " not in line.strip().removeprefix("List-Unsubscribe: "), line)

    def test_a_blank_run_stays(self) -> None:
        text = "a" * 70 + "   \t " + "b" * 70
        self.assertEqual(folded("x", "X", text), f"X: {'a' * 70}\r\n   \t {'b' * 70}\r\n")

    def test_998(self) -> None:
        for room in (0, 1):
            url = "u" * (998 - len("List-Help: ") - room)
            self.assertEqual(structured("x", "List-Help", url), f"List-Help: {url}\r\n")
        # One more: the line has to begin with the blank.
        self.assertEqual(structured("x", "List-Help", "u" * 997), f"List-Help:\r\n {'u' * 997}\r\n")
        with self.assertRaises(Unfit) as caught:
            structured("headers.List-Help", "List-Help", "u" * 998)
        self.assertEqual(caught.exception.field, "headers.List-Help")
        # People's text can be broken anywhere.
        self.assertEqual(str(read(unstructured("x", "Subject", "u" * 2000))["Subject"]), "u" * 2000)

    def test_no_encoded_word_where_programs_read(self) -> None:
        with self.assertRaisesRegex(Unfit, "expected ASCII"):
            structured("x", "List-Unsubscribe", "<https://exämple.com/>")

    def test_nothing_to_say(self) -> None:
        self.assertEqual(unstructured("x", "Subject", " "), "")

    def test_H06_no_line_end_passes(self) -> None:
        for end in ("\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x85", "\x1b"):
            for write in (unstructured, structured):
                with self.assertRaises(Unfit) as caught:
                    write("subject", "Subject", f"a{end}Bcc: x@example.com")
                self.assertEqual(caught.exception.field, "subject")
        with self.assertRaises(Unfit):
            one_line("x", "half \ud83d")

    @given(LINES.filter(bool), st.integers(0, 90))
    def test_words_are_short_and_whole(self, text: str, taken: int) -> None:
        words = encoded(text, taken)
        self.assertLessEqual(max(map(len, words.split(" "))), 75)
        for word in words.split(" "):
            # No letter is in two of them (RFC 2047 5), so each can be read alone.
            str(make_header(decode_header(word)))
        self.assertEqual(str(make_header(decode_header(words))), text)


class Parameters(SynchronousTestCase):
    @given(LINES.filter(bool))
    @settings(max_examples=200)
    def test_a_name_comes_back(self, name: str) -> None:
        value = parameter.value("attachment", {"filename": name})
        header = folded("filename", "Content-Disposition", value)
        self.assertTrue(header.isascii())
        self.assertLessEqual(max(widths(header)), 78)
        self.assertNotIn("=?", header)
        for message in (read(header), message_from_bytes(header.encode() + b"\r\n")):
            self.assertEqual(message.get_filename(), name)
            self.assertEqual(message.get_content_disposition(), "attachment")

    def test_types(self) -> None:
        self.assertEqual(parameter.parsed("Text/CSV; Charset=UTF-8"), ("text/csv", {"charset": "UTF-8"}))
        self.assertEqual(parameter.parsed('a/b;x="y z"; q=1;'), ("a/b", {"x": "y z", "q": "1"}))
        for wrong in (
            "", "text", "text/", "/x", "a/b; c", 'a/b; c="', "a b/c", "a/b\r\nX: y", "a/b; x=y z", "x/" + "y" * 500,
        ):  # fmt: skip
            self.assertIsNone(parameter.parsed(wrong), wrong)


class Addresses(SynchronousTestCase):
    def parsed(self, text: str) -> list[tuple[str, str]]:
        return [(one.name, one.address.text) for one in flat(mailboxes("to", text, 100))]

    def test_forms(self) -> None:
        for text, expected in (
            ("a@b.de", [("", "a@b.de")]),
            ("<a@b.de>", [("", "a@b.de")]),
            ("A B <a@B.de>, c@d.de", [("A B", "a@b.de"), ("", "c@d.de")]),
            ('"B, A" <a@b.de>', [("B, A", "a@b.de")]),
            (r'"a \"q\" b" <a@b.de>', [('a "q" b', "a@b.de")]),
            ("John Q. Public <j@b.de>", [("John Q. Public", "j@b.de")]),
            ("a@b.de (A (the B))", [("A (the B)", "a@b.de")]),
            ("a@b.de; c@d.de,, e@f.de;", [("", "a@b.de"), ("", "c@d.de"), ("", "e@f.de")]),
            ("Zoë <zoë@exämple.de>", [("Zoë", "zoë@xn--exmple-cua.de")]),
            ('"a b"@c.de', [("", '"a b"@c.de')]),
            ("<\"a>b\"@c.de>", [("", '"a>b"@c.de')]),
            ("[Team] x <a@[IPv6:2001:db8::1]>", [("[Team] x", "a@[IPv6:2001:db8::1]")]),
            ("Us: a@b.de, C <c@d.de>; e@f.de", [("", "a@b.de"), ("C", "c@d.de"), ("", "e@f.de")]),
            ("undisclosed-recipients:;", []),
            ("", []),
        ):
            self.assertEqual(self.parsed(text), expected, text)

    def test_H07_what_is_none(self) -> None:
        for text in (
            "a", "a@", "@b", "a b@c.de", "a@b.de c@d.de", "<a@b.de> x", "<a@b.de", "a@b.de>", '"a <b@c.de>',
            "x: y: a@b.de;", "(a@b.de", "<a@b.de><c@d.de>", "a@b,\\", "a@b@c.de", "A <>", "a@[1.2.3", "." * 100_000,
        ):  # fmt: skip
            with self.assertRaises(Unfit, msg=text) as caught:
                self.parsed(text)
            self.assertEqual(caught.exception.field, "to")

    def test_H07_too_many(self) -> None:
        for text in (", ".join(f"u{n}@b.de" for n in range(101)), "," * 1_000_000, "(" * 100_000, "a " * 100_000):
            self.assertRaises(Unfit, self.parsed, text)

    @given(st.lists(LINES, max_size=8), st.booleans())
    def test_names_come_back(self, names: list[str], grouped: bool) -> None:
        boxes = [Mailbox(name, parse(f"u{number}@b.de")) for number, name in enumerate(names)]
        named = [Group("G, h", tuple(boxes))] if grouped else boxes
        header = address_field("to", "To", named)
        self.assertTrue(header.isascii())
        self.assertLessEqual(max(widths(header)), 998)
        found = read(header)["To"].addresses if header else ()
        addresses = [box.address.text for box in boxes]
        self.assertEqual([one.addr_spec for one in found], addresses)
        # Its names have a blank between two encoded words, against RFC 2047 6.2; the older parser does better.
        value = message_from_bytes(header.encode() + b"\r\n").get("To", "").replace("\r\n", "")
        value = value.removeprefix('"G, h":').removesuffix(";")
        pairs = [(str(make_header(decode_header(name))), address) for name, address in getaddresses([value]) if address]
        self.assertEqual(pairs, list(zip(names, addresses, strict=True)))
        # Our own reads what it writes, but for encoded words, which are a name like any other.
        again = mailboxes("to", header.replace("\r\n", "").removeprefix("To: "), 100)
        self.assertEqual([one.address for one in flat(again)], [box.address for box in boxes])

    def test_a_quoted_local_part_is_in_brackets(self) -> None:
        boxes = [Mailbox("", parse('"a b"@c.de')), Mailbox("", parse("a.b@c.de"))]
        self.assertEqual(address_field("to", "To", boxes), 'To: <"a b"@c.de>, a.b@c.de\r\n')

    def test_beyond_ascii(self) -> None:
        header = address_field("to", "To", [Mailbox("Zoë", parse("zoë@b.de", utf8=True))])
        self.assertEqual(header, "To: =?utf-8?q?Zo=C3=AB?= <zoë@b.de>\r\n")
