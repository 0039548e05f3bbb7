"""All rules in their order. The first that fits a reply says what it means. Pure.

Each rule lies under the words that a reply must have to fit it, so that of hundreds only those are looked at that
have a word in common with the reply.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.bounce.diagnosis import CATEGORIES, Diagnosis
from relay.bounce.pattern import words_of
from relay.bounce.rule import Rule, by_code, keys_of
from relay.bounce.said import Said


class Rulebook:
    """True when there are rules in it."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._under: dict[str, list[int]] = {}
        self._always: list[int] = []
        for number, rule in enumerate(self.rules):
            for key in rule.keys:
                self._under.setdefault(key, []).append(number)
            if not rule.keys:
                self._always.append(number)

    def __len__(self) -> int:
        return len(self.rules)

    def rule(self, said: Said) -> Rule | None:
        """The first that fits."""
        under = self._under
        possible = set(self._always)
        for key in (*keys_of(said), *words_of(said.words)):
            if key in under:
                possible.update(under[key])
        for number in sorted(possible):
            if self.rules[number].fits(said):
                return self.rules[number]
        return None

    def diagnosis(self, said: Said) -> Diagnosis:
        """What a reply means. One that no rule fits is known by its code alone."""
        rule = self.rule(said)
        if rule is not None:
            return rule.diagnosis(said)
        fault, _ = CATEGORIES["other"]
        return Diagnosis(by_code(said.code), "other", fault, "Unknown", said.code, said.status)
