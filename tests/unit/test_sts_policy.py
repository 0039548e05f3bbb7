"""What domains write about their mail, read strictly (RFC 8461 3, 4.1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.delivery.sts import policy as module
from relay.delivery.sts.policy import MAX_AGE, BadPolicy, Mode, StsPolicy, parse, record_id

LINES = ("version: STSv1", "mode: enforce", "mx: mail.a.test", "mx: *.b.test", "max_age: 86400")
POLICY = StsPolicy(Mode.ENFORCE, ("mail.a.test", "*.b.test"), 86400)

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
patterns = st.one_of(names, names.map("*.{}".format))


class Record(SynchronousTestCase):
    def test_which_policy_it_is(self) -> None:
        for texts, found in (
            (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            (["v=STSv1;id=1"], "1"),
            (["v=STSv1 ; id=1 ; x_y-z.=a:b/c ;"], "1"),
            (["v=STSv1; x=y; id=1; id=2"], "1"),
            (["v=spf1 -all", "v=STSv1; id=1", "v=STSv1x; id=2"], "1"),
            ([], None),
            (["v=STSv1; id=1", "v=STSv1; id=1"], None),
            (["v=STSv1"], None),
            (["v=STSv1;"], None),
            (["v=STSv1; x=y"], None),
            (["id=1; v=STSv1"], None),
            (["V=STSv1; id=1"], None),
            (["v=STSv1; id=" + "1" * 33], None),
            (["v=STSv1; id=a-b"], None),
            (["v=STSv1; id="], None),
            (["v=STSv1; id=1; rubbish"], None),
            (["v=STSv1; id=1;; x=y"], None),
            (["v=STSv1; id=1; x=a=b"], None),
            (["v=STSv1; id=1; x=a b"], None),
            (["v=STSv1; id=\u0661"], None),
        ):
            self.assertEqual(record_id(texts), found, texts)

    @given(st.lists(st.text(max_size=60), max_size=3), st.text(max_size=60))
    def test_anything(self, texts: list[str], more: str) -> None:
        for each in (texts, ["v=STSv1;" + more]):
            found = record_id(each)
            self.assertTrue(found is None or (found.isalnum() and found.isascii() and len(found) <= 32))


class Policies(SynchronousTestCase):
    def test_one(self) -> None:
        for end in ("\r\n", "\n", " \t\n", "\n\n"):
            self.assertEqual(parse(end.join(LINES).encode()), POLICY)
            self.assertEqual(parse((end.join(LINES) + end).encode()), POLICY)
        self.assertEqual(parse("\n".join(reversed(LINES)).encode()).max_age, 86400, "in any order")

    def test_what_is_not_known_or_there_twice(self) -> None:
        more = ("mode: none", "future_thing: \u00fc x: y", "max_age: 1", "mx: MAIL.a.test", "version: STSv2")
        self.assertEqual(parse("\n".join(LINES + more).encode()), POLICY)

    def test_what_is_none(self) -> None:
        for change, words in (
            ({0: ""}, "version"),
            ({0: "version: STSv2"}, "version"),
            ({0: "Version: STSv1"}, "version"),
            ({1: ""}, "mode"),
            ({1: "mode: Enforce"}, "mode"),
            ({4: ""}, "max_age"),
            ({4: "max_age: -1"}, "max_age"),
            ({4: "max_age: 1 day"}, "max_age"),
            ({4: "max_age: 12345678901"}, "max_age"),
            ({2: "", 3: ""}, "no mx"),
            ({2: "mx: a b"}, "host name"),
            ({2: "mx: *"}, "host name"),
            ({2: "mx: *.*.b.test"}, "host name"),
            ({2: "mx: a.*.test"}, "host name"),
            ({2: "mx: .b.test"}, "host name"),
            ({2: "mx: b.test."}, "host name"),
            ({2: "mx: m\u00fcller.test"}, "host name"),
            ({2: "mx: -b.test"}, "host name"),
            ({2: "mx:"}, "line 3"),
            ({2: "mx mail.a.test"}, "line 3"),
            ({2: "mx : mail.a.test"}, "line 3"),
            ({2: "mx: a\rmode: none"}, "line 3"),
            ({2: "x: \x1b[31m"}, "line 3"),
            ({2: f"{'x' * 33}: y"}, "line 3"),
        ):
            lines = [change.get(number, line) for number, line in enumerate(LINES)]
            error = self.assertRaises(BadPolicy, parse, "\n".join(lines).encode())
            self.assertIn(words, str(error), change)

    def test_bounds(self) -> None:
        self.assertRaises(BadPolicy, parse, b"\xff" + "\n".join(LINES).encode())
        padding = "x: " + "y" * module.LARGEST
        self.assertIn("longer", str(self.assertRaises(BadPolicy, parse, "\n".join((*LINES, padding)).encode())))
        many = [f"mx: mx{number}.test" for number in range(module.MOST_MX - 1)]
        self.assertEqual(len(parse("\n".join((*LINES, *many[1:])).encode()).mx), module.MOST_MX)
        self.assertRaises(BadPolicy, parse, "\n".join((*LINES, *many)).encode())
        old = [line.replace("86400", "9999999999") for line in LINES]
        self.assertEqual(parse("\n".join(old).encode()).max_age, MAX_AGE)

    def test_none_needs_no_hosts(self) -> None:
        self.assertEqual(parse(b"version: STSv1\nmode: none\nmax_age: 0"), StsPolicy(Mode.NONE, (), 0))

    def test_which_hosts_it_allows(self) -> None:
        for host, allowed in (
            ("mail.a.test", True),
            ("MAIL.A.test.", True),
            ("x.b.test", True),
            ("b.test", False),
            ("x.y.b.test", False),
            (".b.test", False),
            ("xb.test", False),
            ("a.test", False),
            ("mail.a.test.evil.test", False),
            ("", False),
        ):
            self.assertEqual(POLICY.allows(host), allowed, host)

    @given(st.sampled_from(Mode), st.lists(patterns, min_size=1, max_size=5, unique=True), st.integers(0, MAX_AGE))
    def test_what_is_written_is_read(self, mode: Mode, mx: list[str], max_age: int) -> None:
        policy = StsPolicy(mode, tuple(mx), max_age)
        self.assertEqual(parse("\r\n".join(policy.lines()).encode()), policy)

    @given(names, patterns)
    def test_hosts_by_a_plain_rule(self, host: str, pattern: str) -> None:
        allowed = StsPolicy(Mode.ENFORCE, (pattern,), 1).allows(host)
        if pattern.startswith("*."):
            self.assertEqual(allowed, host.split(".")[1:] == pattern.split(".")[1:])
        else:
            self.assertEqual(allowed, host == pattern)

    @given(st.binary(max_size=200), st.permutations(LINES))
    def test_anything(self, rubbish: bytes, lines: list[str]) -> None:
        for data in (rubbish, "\n".join(lines).encode() + b"\n" + rubbish):
            try:
                found = parse(data)
            except BadPolicy as error:
                self.assertTrue(str(error).isprintable())
            else:
                self.assertEqual(parse("\n".join(found.lines()).encode()), found)
