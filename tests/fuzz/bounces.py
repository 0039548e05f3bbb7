"""What hosts say against a delivery, and what operators write about that."""

from __future__ import annotations

from functools import lru_cache

from relay.bounce.diagnosis import CATEGORIES
from relay.bounce.pattern import BadPattern, Pattern, words_of
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import BadRules, parse, shipped
from relay.bounce.said import READ, said
from relay.dispatch.diagnoses import Diagnoses
from relay.message.values import Outcome, Result
from tests.fuzz.choices import bit, head, long

_STAGES = ("connect", "banner", "ehlo", "tls", "mail", "rcpt", "data", "dot")


@lru_cache(1)
def _diagnoses() -> Diagnoses:
    return Diagnoses("", lambda: 0.0)


def refusal(data: bytes) -> None:
    """A diagnosis by the first rule that fits, whatever was said; it decides where the reply is about the message."""
    (options, code), rest = head(data, 2)
    text = long(rest, 2 * READ).decode("utf-8", "replace")
    number = 300 + code % 300
    reply = said(text, number)
    assert reply.words == " ".join(reply.words.split())
    diagnosis = _diagnoses().of(text, number)
    if options >> 2 & 7 == 0:
        fits = next((rule for rule in shipped() if rule.fits(reply)), None)
        assert diagnosis.line == (fits.line if fits is not None else 0)
    assert diagnosis.category in CATEGORIES and diagnosis.code == reply.code
    result = Result.BOUNCED if bit(options, 0) else Result.DEFERRED
    before = Outcome(result, text, number, "reply", _STAGES[options >> 5])
    outcome, judged = _diagnoses().judged(before, by_http=bit(options, 1))
    assert judged is not None and (judged.action == "reject") == (outcome.result is Result.BOUNCED)
    if bit(options, 1) or options >> 5 < _STAGES.index("mail"):
        assert outcome == before


def pattern(data: bytes) -> None:
    """What it is found in is filed under one of its words."""
    text, _, words = long(data).decode("utf-8", "replace").partition("\0")
    try:
        made = Pattern(text)
    except BadPattern as error:
        assert str(error).isprintable()
        return
    if made.found(words):
        assert not made.keys or made.keys.intersection(words_of(words))


def rules(data: bytes) -> None:
    """Rules with their lines, or a line for each reason."""
    text = long(data, 8192).decode("utf-8", "ignore")
    try:
        found = parse(text, "x")
    except BadRules as error:
        assert error.problems
        assert all(problem.startswith("x:") and problem.isprintable() for problem in error.problems)
        return
    assert all(0 < rule.line <= text.count("\n") + 1 for rule in found)
    Rulebook(found).diagnosis(said("550 5.1.1 user unknown"))
