"""The shipped rules against refusals as hosts give them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import CATEGORIES
from relay.bounce.pattern import GAP
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import shipped
from relay.bounce.said import READ, said
from tests.labelled import HALVES, SECOND_HAND, SEEN, UNSEEN, Labelled, halves, labelled, share, strange


def replies() -> Iterator[Labelled]:
    return labelled(SEEN)


#: What scripts made for ZoneMTA expect.
GMAIL_FULL = "452-4.2.2 The email account that you tried to reach is over quota.\r\n452 4.2.2 - gsmtp"
GMAIL_ATTACHED = (
    "552-5.7.0 This message was blocked because its content presents a potential\n"
    "552-5.7.0 security issue. Please visit\n"
    "552 5.7.0 message content and attachment content guidelines. cp3si16622595oec.19 - gsmtp"
)
LISTED = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org"
KNOWN = (
    ("550 5.1.1 User unknown", "reject", "recipient", "5.1.1"),
    ("450 4.2.0 Greylisted", "defer", "greylist", "4.2.0"),
    (GMAIL_FULL, "reject", "capacity", "4.2.2"),
    ("421 RP-001 (SNT004-MC2F1) Some messages weren't sent", "slowdown", "rate", ""),
    (GMAIL_ATTACHED, "reject", "virus", "5.7.0"),
    (LISTED, "defer", "blacklist", "5.7.1"),
    ("553 sorry", "reject", "envelope", ""),
    ("499 well", "defer", "other", ""),
    ("599 well", "reject", "other", ""),
    ("", "reject", "other", ""),
)


class ShippedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.book = Rulebook(shipped())

    def test_what_each_reply_means(self) -> None:
        labelled = list(replies())
        wrong = []
        for one in labelled:
            found = self.book.diagnosis(said(one.reply))
            if (found.category, found.action) != (one.category, one.action):
                wrong.append((one, found))
        self.assertEqual(wrong, [])
        self.assertGreater(len(labelled), 500)

    def test_how_often_they_are_right_about_what_they_have_not_seen(self) -> None:
        """No less than docs/bounces.md says; whoever makes it better says so there."""
        unseen = list(labelled(UNSEEN))
        self.assertFalse({one.reply for one in unseen} & {one.reply for one in replies()})
        found = share(unseen)
        self.assertGreaterEqual((found.count, found.category, found.action), (100, 77, 94))
        self.assertGreater(len(strange(unseen, list(replies()))), 40)

    def test_how_often_they_are_right_about_the_half_that_they_were_not_written_from(self) -> None:
        """A little less than docs/bounces.md says, so that a rule may cost one that it should not have got right."""
        first, second = halves(labelled(HALVES))
        self.assertGreaterEqual(len(first) + len(second), 300)
        self.assertEqual(strange(second, [*replies(), *labelled(UNSEEN)]), second)
        found = share(second)
        self.assertEqual(found.count, 162)
        self.assertGreaterEqual(found.category, 113)
        self.assertGreaterEqual(found.action, 156)

    def test_how_often_they_are_right_about_what_another_person_has_labelled(self) -> None:
        """A little less than docs/bounces.md says of the rules that were mended from it."""
        other = list(labelled(SECOND_HAND))
        known = [*replies(), *labelled(UNSEEN), *labelled(HALVES)]
        self.assertFalse({said(one.reply) for one in other} & {said(one.reply) for one in known})
        found = share(other)
        self.assertEqual(found.count, 240)
        self.assertGreaterEqual(found.category, 181)
        self.assertGreaterEqual(found.action, 226)

    def test_a_code_that_does_not_say_why_speaks_of_no_mailbox(self) -> None:
        """Nobody gets on a suppression list for it; who is said to be gone does."""
        for reply, fault in (
            ("550 No", "host"),
            ("550 5.7.1 <a@example.com>: Recipient address rejected: whatever", "host"),
            ("550 5.1.1 <a@example.com>: Recipient address rejected: whatever", "recipient"),
            ("550 5.7.1 <a@example.com>: Recipient address rejected: User unknown", "recipient"),
            ("550 5.1.1 No", "recipient"),
            ("550 No such user", "recipient"),
        ):
            found = self.book.diagnosis(said(reply))
            self.assertEqual((found.category, found.action, found.fault), ("recipient", "reject", fault), reply)

    def test_few_are_taken_for_gone_who_are_not(self) -> None:
        """docs/bounces.md has how many, of those that no rule was written from and of the second person's."""

        def gone(one: Labelled) -> bool:
            found = self.book.diagnosis(said(one.reply))
            return (found.category, found.fault, found.action) == ("recipient", "recipient", "reject")

        asked = [*halves(labelled(HALVES))[1], *labelled(SECOND_HAND)]
        really = [one for one in asked if (one.category, one.action) == ("recipient", "reject")]
        self.assertEqual(len(really), 55)
        self.assertGreaterEqual(sum(map(gone, really)), 49)
        self.assertLessEqual(sum(gone(one) for one in asked if one.category != "recipient"), 6)

    def test_as_ZoneMTA_does(self) -> None:
        for reply, action, category, status in KNOWN:
            found = self.book.diagnosis(said(reply))
            self.assertEqual((found.action, found.category, found.status), (action, category, status), reply)

    def test_no_rule_is_dead_or_in_the_shadow_of_another(self) -> None:
        decided = {rule for one in replies() if (rule := self.book.rule(said(one.reply)))}
        idle = [(rule.line, rule.pattern and rule.pattern.text) for rule in self.book.rules if rule not in decided]
        self.assertEqual(idle, [])
        self.assertGreater(len(self.book), 400)

    def test_each_category_but_dns_has_rules(self) -> None:
        """No host says of itself that its name can't be found."""
        self.assertEqual({rule.category for rule in self.book.rules}, CATEGORIES.keys() - {"dns"})

    def test_all_are_found_again_by_their_words(self) -> None:
        """The index leaves nothing out: whatever a reply fits is what it finds."""
        for one in replies():
            reply = said(one.reply)
            first = next(rule for rule in self.book.rules if rule.fits(reply))
            self.assertIs(self.book.rule(reply), first, one.reply)

    def test_no_names_decide(self) -> None:
        """The recipient may be called anything."""
        for name in ("spamhaus", "user.unknown", "too-many-connections", "greylist", "virus"):
            for words in ("<{}@{}.example> no", "no {}@{}.example", "<{}@{}.example>: no"):
                found = self.book.diagnosis(said("550 5.3.0 " + words.format(name, name)))
                self.assertEqual((found.category, found.status), ("config", "5.3.0"), words)

    def test_none_takes_long(self) -> None:
        """Of each rule, all that its pattern is made of, over and over (CPU time: others may have the machine)."""
        slow = []
        for rule in self.book.rules:
            if rule.pattern is None:
                continue
            text = rule.pattern.text.translate(str.maketrans("{}|#", "   1")).replace("*", "x")
            hostile = [" ".join([text] * READ)[:READ], *(f"{word} " * READ for word in text.split()[:12])]
            words = [said(f"550 {one}").words for one in hostile]
            rule.pattern.found("")
            begun = time.process_time()
            for each in words:
                rule.pattern.found(each)
            spent = (time.process_time() - begun) / len(words)
            if spent > 0.005:
                slow.append((spent, rule.pattern.text))
        self.assertEqual(slow, [])

    def test_in_proportion_to_the_length(self) -> None:
        """Four times the words are no more than four times the work, within what a clock tells."""
        pattern = next(r.pattern for r in self.book.rules if r.pattern and r.pattern.text.startswith("{maximum|"))
        assert pattern is not None
        text = ("limit " + "x " * (GAP // 4)) * 200

        def spent(words: str) -> float:
            least = 1.0
            for _ in range(5):
                begun = time.process_time()
                pattern.found(words)
                least = min(least, time.process_time() - begun)
            return least

        self.assertLess(spent(text * 4), 8 * spent(text) + 0.002)
