"""Command lines: verbs, paths, parameters (RFC 5321 4.1)."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.message.address import Address
from relay.smtp import commands, grammar, words
from relay.smtp.events import MailGiven, RcptGiven
from relay.smtp.grammar import Malformed
from relay.smtp.offers import Offers
from relay.smtp.reply import Reply


class SplitTests(TestCase):
    def test_verb_and_argument(self) -> None:
        for line, expected in [
            (b"mail FROM:<a@b>", ("MAIL", "FROM:<a@b>")),
            (b"QUIT", ("QUIT", "")),
            (b"QUIT  ", ("QUIT", "")),
            (b"EHLO   x ", ("EHLO", "x")),
            (b"", ("", "")),
            (b"MAILFROM:<a@b>", ("MAILFROM:<A@B>", "")),
        ]:
            self.assertEqual(grammar.split(line), expected, line)

    def test_control_characters_are_refused_S12(self) -> None:
        for char in [b"\r", b"\n", b"\0", b"\x1b", b"\x7f", b"\t"]:
            self.assertRaises(Malformed, grammar.split, b"MAIL FROM:<a" + char + b"@b>")
            self.assertRaises(Malformed, grammar.split, b"MAIL FROM:<\xc3\xa9" + char + b"@b>")

    def test_not_ascii_stays_recognisable_S17(self) -> None:
        for raw in [b"\xc3\xa9", b"\xff", b"\xed\xa0\x80"]:
            self.assertFalse(grammar.split(b"MAIL FROM:<" + raw + b"@b>").argument.isascii())

    @given(st.binary(max_size=200))
    def test_anything_is_split_or_refused(self, line: bytes) -> None:
        try:
            command = grammar.split(line)
        except Malformed:
            return
        self.assertFalse(set("\r\n\0") & set(command.verb + command.argument))

    def test_http_S10(self) -> None:
        self.assertTrue(grammar.is_http(grammar.split(b"POST / HTTP/1.1")))
        self.assertTrue(grammar.is_http(grammar.split(b"get /x HTTP/2")))
        self.assertFalse(grammar.is_http(grammar.split(b"POST x")))


class HeloTests(TestCase):
    def test_names(self) -> None:
        for good in ["x", "mx_1.example.com", "[127.0.0.1]", "[IPv6:::1]"]:
            self.assertTrue(grammar.is_helo_name(good), good)
        for bad in ["", "a b", "a(b", "<script>", "a;b", '"a"', "é", "x" * 256]:
            self.assertFalse(grammar.is_helo_name(bad), bad)


class PathTests(TestCase):
    def test_mailboxes(self) -> None:
        for argument, expected in [
            ("FROM:<a@b.c>", ("a@b.c", "")),
            ("from:<a@b.c> SIZE=1", ("a@b.c", "SIZE=1")),
            ("FROM: <a@b.c>", ("a@b.c", "")),
            ("FROM :<a@b.c>", None),
            ("FROM:<>", ("", "")),
            ('FROM:<"a>b"@c>', ('"a>b"@c', "")),
            (r'FROM:<"a\">b"@c> X', (r'"a\">b"@c', "X")),
        ]:
            if expected is None:
                self.assertRaises(Malformed, grammar.path, argument, "FROM:<")
            else:
                self.assertEqual(grammar.path(argument, "FROM:<"), expected, argument)

    def test_source_route_is_stripped_S20(self) -> None:
        for argument in ["TO:<@one.example,@two.example:u@d.example>", "TO:<@one:u@d.example>"]:
            self.assertEqual(grammar.path(argument, "TO:<"), ("u@d.example", ""))

    def test_malformed_S13_S21(self) -> None:
        for argument in [
            "TO:<a@b.c",
            "TO:a@b.c",
            "TO<a@b.c>",
            "<a@b.c>",
            "TO:",
            "",
            "TO:<a@b.c>x",
            "TO:<a@b.c><d@e.f>",
            "TO:<a@b.c>,<d@e.f>",
            'TO:<"a@b.c>',
            "TO:<@one>",
            "TO:<@one:>",
            "TO:<@one,two:u@d>",
            "TO:<@one:@two:u@d>",
            "FROM:<a@b.c>",
        ]:
            self.assertRaises(Malformed, grammar.path, argument, "TO:<")

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
    def test_any_text_is_a_path_or_malformed(self, text: str) -> None:
        try:
            mailbox, rest = grammar.path("TO:<" + text, "TO:<")
        except Malformed:
            return
        self.assertIn(mailbox, text)
        self.assertTrue(text.rstrip(" ").endswith(rest))


class ParameterTests(TestCase):
    def test_parameters(self) -> None:
        self.assertEqual(
            grammar.parameters("size=10  Body=8BITMIME X"), {"SIZE": "10", "BODY": "8BITMIME", "X": ""}
        )
        for bad in ["=1", "A=", "A=b=c", "-A=1", "A_B=1", "A=1 a=2"]:
            self.assertRaises(Malformed, grammar.parameters, bad)

    def test_size_S14(self) -> None:
        self.assertEqual(grammar.size("0010"), 10)
        self.assertEqual(grammar.size("9" * 20), int("9" * 20))
        for bad in ["", "-1", "+1", "1.5", "ten", "9" * 21, "٣", "²"]:
            self.assertRaises(Malformed, grammar.size, bad)


def mail(argument: str, max_size: int) -> MailGiven | Reply:
    """At the beginning of time, with all that is offered to everybody."""
    return commands.mail(argument, Offers(Listener(max_future=100.0), False, (), False), max_size, lambda: 0)


class CommandTests(TestCase):
    def test_mail(self) -> None:
        self.assertEqual(
            mail("FROM:<a@B.c> SIZE=5 BODY=8bitmime", 10), MailGiven(Address("a", "b.c"), 5, True)
        )
        self.assertEqual(mail("FROM:<>", 10), MailGiven(None, None, False))
        self.assertEqual(mail("FROM:<> SIZE=11", 0), MailGiven(None, 11, False))
        self.assertEqual(
            mail("FROM:<é@b> SMTPUTF8 RET=full ENVID=x HOLDFOR=7", 0),
            MailGiven(Address("é", "b"), None, False, True, ret="FULL", envid="x", hold=7),
        )
        self.assertEqual(
            mail("FROM:<a@b> HOLDUNTIL=1970-01-01T00:01:40Z", 0),
            MailGiven(Address("a", "b"), None, False, hold_until=100),
        )

    def test_refused_mail_S14_S16_S17(self) -> None:
        for argument, expected in [
            ("FROM:<a@b> SIZE=-1", words.BAD_SIZE),
            ("FROM:<a@b> SIZE=ten", words.BAD_SIZE),
            ("FROM:<a@b> SIZE=11", words.declared_too_big(10)),
            ("FROM:<a@b> BODY=BINARYMIME", words.BAD_BODY),
            ("FROM:<a@b> FOO=1", words.UNKNOWN_PARAMETER),
            ("FROM:<a@b> SMTPUTF8=1", words.BAD_PARAMETER),
            ("FROM:<a@b> AUTH=<>", words.UNKNOWN_PARAMETER),
            ("FROM:<a@b> REQUIRETLS", words.REQUIRETLS_NEEDS_TLS),
            ("FROM:<a@b> HOLDFOR=101", words.HOLD_TOO_LONG),
            ("FROM:<a@b> HOLDUNTIL=1970-01-01T00:01:41Z", words.HOLD_TOO_LONG),
            ("FROM:<\ufffd@b> SMTPUTF8", words.BAD_SENDER),
            ("FROM:<a@b> SIZE=1 SIZE=2", words.BAD_PARAMETER),
            ("FROM:<é@b>", words.NOT_ASCII),
            ("FROM:<a@@b>", words.BAD_SENDER),
        ]:
            self.assertEqual(mail(argument, 10), expected, argument)

    def test_rcpt_S20_S21_S22(self) -> None:
        for argument, expected in [
            ("TO:<a@B.c>", RcptGiven(Address("a", "b.c"))),
            ("TO:<@x:a@b.c>", RcptGiven(Address("a", "b.c"))),
            ("TO:<a%b@c>", RcptGiven(Address("a%b", "c"))),
            ('TO:<"a b"@c>', RcptGiven(Address('"a b"', "c"))),
            ("TO:<>", words.BAD_RECIPIENT),
            ("TO:<a>", words.BAD_RECIPIENT),
            ("TO:<@b>", words.BAD_RECIPIENT),
            ("TO:<a..b@c>", words.BAD_RECIPIENT),
            ("TO:<a b@c>", words.BAD_RECIPIENT),
            ("TO:<a@[b>", words.BAD_RECIPIENT),
            ("TO:<a@../../etc>", words.BAD_RECIPIENT),
            ("TO:<a@" + "x" * 300 + ">", words.BAD_RECIPIENT),
            ("TO:<a@b> NOTIFY=never", RcptGiven(Address("a", "b"), "NEVER")),
            ("TO:<a@b> RET=FULL", words.UNKNOWN_PARAMETER),
            ("TO:<é@b>", words.NOT_ASCII),
            ("TO:<a@b> =", words.BAD_PARAMETER),
        ]:
            offers = Offers(Listener(), False, (), False)
            self.assertEqual(commands.rcpt(argument, offers, False), expected, argument)

    def test_bdat_S45(self) -> None:
        self.assertEqual(commands.bdat("10"), (10, False))
        self.assertEqual(commands.bdat("0 last"), (0, True))
        for bad in ("", "LAST", "-1", "+1", "1.0", "٣", "1 LAST LAST", "1 FIRST", "1" * 19):
            self.assertIsNone(commands.bdat(bad), bad)

    @given(st.binary(max_size=60))
    def test_base64_that_was_encoded_is_decoded_S47(self, data: bytes) -> None:
        text = b64encode(data)
        self.assertEqual(commands.decoded(text), data)
        for bad in (text + b"=", text[:-1] + b"!", b" " + text, text + b"\n"):
            self.assertRaises(ValueError, commands.decoded, bad)

    @given(st.text(max_size=80) | st.text("ADR=[]:.0123456789+ F", max_size=60))
    def test_any_text_is_an_xclient_or_refused(self, text: str) -> None:
        given_ = commands.xclient(text)
        if isinstance(given_, Reply):
            self.assertEqual(given_, words.BAD_XCLIENT)
        else:
            self.assertTrue(all(value.isascii() and value.isprintable() for value in given_.attributes.values()))
