"""What refusals make of outcomes, by rules that may be replaced at any time."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec.structs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.rulefile import SHIPPED, BadRules
from relay.dispatch import diagnoses
from relay.dispatch.diagnoses import LOOK, Diagnoses
from relay.message.values import Outcome, Result

BLOCKED = "554 5.7.1 Client host [192.0.2.7] blocked using zen.spamhaus.org"
OVER = "452 4.2.2 The email account that you tried to reach is over quota"
OWN = '[[rules]]\ncategory = "{}"\naction = "{}"\nmessage = "Own"\nmatch = "who are you"\n'


def refused(reply: str, stage: str = "rcpt", category: str = "reply") -> Outcome:
    code = int(reply[:3])
    result = Result.BOUNCED if code >= 500 and stage in ("mail", "rcpt", "data", "body", "dot") else Result.DEFERRED
    return Outcome(result, reply, code, category, stage)


class DiagnosesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.diagnoses = Diagnoses("", self.clock.seconds)

    def write(self, text: str) -> None:
        """In the place of the file, as editors do it."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)

    def own(self, text: str) -> Diagnoses:
        self.write(text)
        found = Diagnoses(str(self.path), self.clock.seconds)
        found.start()
        return found

    def test_the_code_decides_unless_a_rule_does(self) -> None:
        for reply, result in (
            ("550 5.1.1 User unknown", Result.BOUNCED),
            ("451 4.3.0 Try again", Result.DEFERRED),
            (BLOCKED, Result.DEFERRED),
            ("550 Greylisted, come again", Result.DEFERRED),
            ("554 Too many connections", Result.DEFERRED),
            (OVER, Result.BOUNCED),
        ):
            for stage in ("mail", "rcpt", "data", "body", "dot"):
                outcome, diagnosis = self.diagnoses.judged(refused(reply, stage))
                assert diagnosis is not None
                self.assertIs(outcome.result, result, reply)
                self.assertEqual(diagnosis.action == "reject", result is Result.BOUNCED)
                self.assertEqual((outcome.response, outcome.category, outcome.stage), (reply, "reply", stage))

    def test_what_is_said_before_the_message_is_not_final(self) -> None:
        for stage in ("connect", "banner", "ehlo", "tls"):
            for reply in ("554 5.7.1 You are not welcome", OVER):
                outcome, diagnosis = self.diagnoses.judged(refused(reply, stage))
                assert diagnosis is not None
                self.assertEqual((outcome.result, diagnosis.action), (Result.DEFERRED, "defer"))

    def test_codes_of_HTTP_mean_what_they_do(self) -> None:
        for code, result, action in (
            (404, Result.BOUNCED, "reject"), (503, Result.DEFERRED, "defer"), (429, Result.DEFERRED, "slowdown"),
            (301, Result.DEFERRED, "defer"),
        ):  # fmt: skip
            before = Outcome(result, f"{code} Words", code, "reply", "dot")
            outcome, diagnosis = self.diagnoses.judged(before, by_http=True)
            assert diagnosis is not None
            self.assertEqual((outcome, diagnosis.action), (before, action), code)

    def test_what_is_no_reply_has_no_diagnosis(self) -> None:
        for outcome in (
            Outcome(Result.DELIVERED, "250 ok", 250),
            refused("550 User unknown", category="auth"),
            Outcome(Result.DEFERRED, "Connection lost", category="network", stage="rcpt"),
            Outcome(Result.BOUNCED, "It is too big", category="message", stage="mail"),
        ):
            self.assertEqual(self.diagnoses.judged(outcome), (outcome, None))

    @given(st.text(max_size=700), st.integers(300, 599), st.sampled_from(("banner", "rcpt", "dot")), st.booleans())
    def test_any_reply(self, text: str, code: int, stage: str, by_http: bool) -> None:
        before = refused(f"{code} {text}", stage)
        outcome, diagnosis = self.diagnoses.judged(before, by_http)
        assert diagnosis is not None
        self.assertEqual(diagnosis.action == "reject", outcome.result is Result.BOUNCED)
        self.assertEqual(msgspec.structs.replace(outcome, result=before.result), before)
        self.assertEqual(self.diagnoses.judged(before, by_http), (outcome, diagnosis))

    def test_the_operators_come_first_and_are_read_again(self) -> None:
        found = self.own(OWN.format("policy", "defer"))
        first = found.of("550 Who are you? User unknown")
        self.assertEqual((first.category, first.action, first.file, first.line), ("policy", "defer", str(self.path), 5))
        self.assertEqual(found.of("550 User unknown").file, SHIPPED)
        self.assertEqual(found.rules["own"], 1)
        self.write(OWN.format("virus", "reject"))
        self.assertEqual(found.of("550 Who are you? User unknown").category, "policy", "not looked at all the time")
        self.clock.advance(LOOK)
        self.assertEqual(found.of("550 Who are you? User unknown").category, "virus")

    def test_a_file_that_cant_be_used_changes_nothing(self) -> None:
        found = self.own(OWN.format("policy", "defer"))
        logged: list[str] = []
        self.patch(diagnoses, "_log", _Log(logged))
        for text in (OWN.format("nothing", "defer"), None):
            if text is None:
                self.path.unlink()
            else:
                self.write(text)
            self.clock.advance(LOOK)
            self.assertEqual(found.of("550 Who are you?").category, "policy")
            self.assertTrue(found.stale)
        self.assertIn(f"{self.path}:2: category: expected one of ", logged[0])
        self.assertIn(f"{self.path}: can't be read: No such file", logged[2])
        self.clock.advance(LOOK)
        found.of("550 Who are you?")
        self.assertEqual(len(logged), 4, "each is told once")
        self.write(OWN.format("virus", "defer"))
        self.clock.advance(LOOK)
        self.assertEqual((found.of("550 Who are you?").category, found.stale), ("virus", False))

    def test_a_start_needs_a_good_file(self) -> None:
        self.assertRaises(BadRules, Diagnoses(str(self.path), self.clock.seconds).start)

    def test_replies_of_a_kind_are_looked_up_once(self) -> None:
        self.patch(diagnoses, "REMEMBERED", 3)
        first = self.diagnoses.of("550 5.1.1 <a@b.example> unknown, id 1234567 [192.0.2.7]")
        self.assertIs(self.diagnoses.of("550 5.1.1 <c@d.example> unknown, id 7654321 [192.0.2.8]"), first)
        for word in ("one", "two"):
            self.diagnoses.of(f"550 {word}")
        self.assertIs(self.diagnoses.of("550 5.1.1 <e@f.example> unknown, id 765432199 [192.0.2.9]"), first)
        forgotten = self.diagnoses.of("550 one")
        self.diagnoses.of("550 three")
        self.diagnoses.of("550 four")
        self.assertIs(self.diagnoses.of("550 one"), forgotten)
        self.assertIsNot(self.diagnoses.of("550 5.1.1 <a@b.example> unknown, id 1234567 [192.0.2.7]"), first)


class _Log:
    def __init__(self, logged: list[str]) -> None:
        self._logged = logged

    def error(self, text: str, **fields: object) -> None:
        self._logged.append(text.format(**fields))

    def info(self, text: str, **fields: object) -> None:
        pass
