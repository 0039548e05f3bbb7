"""Patterns, what a reply reads like, and files of rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.pattern import GAP, BadPattern, Pattern, words_of
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import LARGEST, BadRules, parse, read, shipped
from relay.bounce.said import READ, Said, said

FOUND = (
    ("user unknown", "the user unknown here", "user unknownx", "xuser unknown", "user  unknown"),
    ("User {unknown|not found}", "user not found", "user found"),
    ("blocked * list", "blocked by a list", "list blocked", "blocked" + " x" * GAP + " list"),
    ("blocked * list", "blocked list", "blocklist"),
    ("a * b * c", "a b b c", "a c b"),
    ("*.spamhaus.org", "at zen.spamhaus.org now", "spamhaus.org"),
    ("grey*", "greylisted", "agrey"),
    ("rp-#", "(rp-001)", "rp-x"),
    ("[ts#]", "421 [ts03] no", "ts03"),
    ("{a|b}-{c|d}", "b-c", "bc"),
    ("mailbox {is |}full", "mailbox is full", "mailbox was full"),
    ("mailbox {is |}full", "mailbox full", "mailbox fuller"),
    ("n#: no", "n42: no", "n: no"),
    ("dns{bl|wl}*", "dnsbl.example", "dns bl"),
)
BAD = (
    "", " ", "*", "a *", "* a", "a * * b", "{a", "a}", "a|b", "{a}", "{a|{b|c}}", "#", "...", "x" * 501,
    "{" + "a|" * 60 + "a}", "a# b# c#", "a*b*c*", "{a|b}" * 7,
)  # fmt: skip

#: Words that patterns are made of here, so that they are found now and then.
_words = st.lists(st.sampled_from(("ab", "a", "b", "x1", "-", "no", "list")), min_size=1, max_size=6)


class PatternTests(SynchronousTestCase):
    def test_found(self) -> None:
        for text, yes, *others in FOUND:
            pattern = Pattern(text)
            self.assertTrue(pattern.found(yes), (text, yes))
            for no in others:
                self.assertFalse(pattern.found(no), (text, no))

    def test_bad(self) -> None:
        for text in BAD:
            self.assertRaises(BadPattern, Pattern, text)

    @given(st.text(max_size=40), st.text(max_size=60))
    def test_any_text(self, text: str, words: str) -> None:
        try:
            pattern = Pattern(text)
        except BadPattern:
            return
        if pattern.found(words) and pattern.keys:
            # The index would have looked at it.
            self.assertTrue(pattern.keys & set(words_of(words)))

    @given(_words, _words, _words)
    def test_a_gap_is_what_lies_between(self, before: list[str], gap: list[str], after: list[str]) -> None:
        words = " ".join((*before, *gap, *after))
        self.assertTrue(Pattern(" ".join((*before, "ab"))).found(f"{' '.join(before)} ab {words}"))
        self.assertTrue(Pattern(f"ab {' '.join(before)} * {' '.join(after)} x1").found(f"ab {words} x1"))

    def test_keys(self) -> None:
        for text, keys in (
            ("user {unknown|not found}", {"unknown", "found"}),
            ("too many connections", {"connections"}),
            ("rp-#", {"rp"}),
            ("grey*", set()),
            ("{grey|gray}list", set()),
            ("at *.spamhaus.org", {"spamhaus"}),
        ):
            self.assertEqual(Pattern(text).keys, keys, text)


class SaidTests(SynchronousTestCase):
    def test_codes_and_lines(self) -> None:
        for text, expected in (
            ("550 5.1.1 User unknown", Said(550, "5.1.1", "user unknown")),
            ("550-5.1.1 User\r\n550-5.1.1  is \r\n550 5.1.1 unknown", Said(550, "5.1.1", "user is unknown")),
            ("550 5.1.1 User 5.1.1 is 5.1.1 unknown", Said(550, "5.1.1", "user is unknown")),
            ("550-User\n550 unknown", Said(550, "", "user unknown")),
            ("550 #5.1.0 Address rejected", Said(550, "5.1.0", "address rejected")),
            ("553 sorry (#5.7.1)", Said(553, "5.7.1", "sorry ( 5.7.1)")),
            ("550 5.1.1.1 is no status", Said(550, "", "5.1.1.1 is no status")),
            ("550", Said(550, "", "")),
            ("5500 no code", Said(0, "", "5500 no code")),
            ("no code", Said(0, "", "no code")),
            ("", Said(0, "", "")),
        ):
            self.assertEqual(said(text), expected._replace(words=expected.words.replace("5.1.1.1", "<ip>")), text)

    def test_what_differs_from_message_to_message(self) -> None:
        for text, words in (
            ("<b@example.net>: no", "<address>: no"),
            ("to b@example.net, no", "to <address>, no"),
            ("ü@bücher.example no", "<address> no"),
            ("Host [192.0.2.7] no", "host <ip> no"),
            ("192.0.2.7", "<ip>"),
            ("[IPv6:2001:db8::7] and 2001:db8:0:0:1:2:3:4", "<ip> and <ip>"),
            ("7.2.0.192.zen.example 12:30:45", "7.2.0.192.zen.example 12:30:45"),
            ("cp3si16622595oec.19 - gsmtp", "<id>.19 - gsmtp"),
            ("id 1234567 OFR004_104 (S3150) RL000001", "id <id> ofr004_104 (s3150) rl000001"),
            ("codes#RL000001 {a|b} *", "codes rl000001 a b"),
        ):
            self.assertEqual(said(f"550 {text}").words, words)

    @given(st.text(max_size=3 * READ), st.integers(0, 999))
    def test_any_text(self, text: str, code: int) -> None:
        reply = said(text, code)
        self.assertLessEqual(len(reply.words), 3 * READ)
        self.assertEqual(reply.words, " ".join(reply.words.split()))
        diagnosis = Rulebook(shipped()[:40]).diagnosis(reply)
        self.assertIn(diagnosis.action, ("defer", "slowdown", "reject"))


GOOD = """
[[rules]]
category = "recipient"   # as ever
match = [
  "no such user",
  'user "x" \u00fc',
]

[[rules]]
category = "other"
action = "slowdown"
fault = "sender"
message = "Well"
code = "4xx"
status = ["4.7.*"]
"""
WRONG = (
    ("[[rules]]\ncategory = 'x'\nmatch = 'no'", ":2: category: expected one of auth, "),
    ("[[rules]]\nmatch = 'no'", ":1: expected a category"),
    ("[[rules]]\ncategory = 'spam'", ":1: expected a match, a status or a code"),
    ("[[rules]]\ncategory = 'spam'\nmatch = []", ":3: match: expected a string, or a list of them"),
    ("[[rules]]\ncategory = 'spam'\nmatch = [\n 'a',\n '{b'\n]", ":5: match: expected choices such as"),
    ("[[rules]]\ncategory = 'spam'\nmatch = [1]", ":3: match: expected a string"),
    ("[[rules]]\ncategory = 'spam'\ncode = 250", ":3: code: expected 550"),
    ("[[rules]]\ncategory = 'spam'\ncode = true", ":3: code: expected a number or a string"),
    ("[[rules]]\ncategory = 'spam'\n\nstatus = '5.1'", ':4: status: expected "5.1.1"'),
    ("[[rules]]\ncategory = 'spam'\ncode = 550\naction = 'bounce'", ":4: action: expected one of defer, slowdown"),
    ("[[rules]]\ncategory = 'spam'\ncode = 550\nfault = 1", ":4: fault: expected one of sender"),
    ("[[rules]]\ncategory = 'spam'\ncode = 550\nmessage = ''", ":4: message: expected 1 to 200"),
    ("[[rules]]\ncategory = 'spam'\ncode = 550\nmatches = 'a'", ":4: unknown key matches"),
    ("[[rules]\n", ":1: expected TOML"),
    ("a = 1", ": expected tables [[rules]] and nothing else"),
    ("rules = 1", ": expected tables [[rules]] and nothing else"),
    ("rules = [1]", ": expected tables [[rules]] and nothing else"),
)  # fmt: skip


class RuleFileTests(SynchronousTestCase):
    def test_rules_and_their_lines(self) -> None:
        rules = parse(GOOD, "own")
        self.assertEqual([(rule.line, rule.category, rule.action, rule.fault) for rule in rules], [
            (5, "recipient", "", "recipient"), (6, "recipient", "", "recipient"), (15, "other", "slowdown", "sender"),
        ])  # fmt: skip
        book = Rulebook(rules)
        found = book.diagnosis(said("450 4.7.99 No"))
        self.assertEqual((found.action, found.message, found.file, found.line), ("slowdown", "Well", "own", 15))
        self.assertEqual(found.complaint, "rate")
        self.assertEqual(book.diagnosis(said("450 No such user")).action, "defer")
        self.assertEqual(book.diagnosis(said('550 User "X" Ü')).line, 6)
        self.assertEqual(book.diagnosis(said("550 4.7.1 No")).line, 0)

    def test_what_is_wrong_and_where(self) -> None:
        for text, expected in WRONG:
            error = self.assertRaises(BadRules, parse, text, "own")
            self.assertTrue(str(error).startswith(f"own{expected}"), (text, str(error)))

    def test_all_that_is_wrong_at_once(self) -> None:
        error = self.assertRaises(BadRules, parse, "\n".join(text for text, _ in WRONG[:5]), "own")
        self.assertEqual(len(error.problems), 5)

    def test_files(self) -> None:
        path = self.mktemp()
        self.assertIn("can't be read: No such file", str(self.assertRaises(BadRules, read, path)))
        self.assertIn("expected a plain file", str(self.assertRaises(BadRules, read, "/dev/null")))
        for data, expected in ((b"#\n\n\xff", f"{path}:3: expected UTF-8"), (b"#" * (LARGEST + 1), "at most 512 KB")):
            with open(path, "wb") as file:
                file.write(data)
            self.assertIn(expected, str(self.assertRaises(BadRules, read, path)))

    def test_too_many(self) -> None:
        group = "[[rules]]\ncategory = 'spam'\nmatch = [" + "'a'," * 5001 + "]"
        self.assertIn("at most 5000 rules", str(self.assertRaises(BadRules, parse, group, "own")))

    @given(st.text(max_size=200))
    def test_any_text(self, text: str) -> None:
        for each in (text, "[[rules]]\ncategory = 'spam'\nmatch = '''" + text.replace("'", "") + "'''"):
            try:
                parse(each, "own")
            except BadRules as error:
                self.assertTrue(error.problems)
                self.assertTrue(all(problem.isprintable() for problem in error.problems))
