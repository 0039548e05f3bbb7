"""Refusals with what they mean, from the fixtures; and how often the shipped rules say so (`make accuracy`)."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from relay.bounce.rule import by_code
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import shipped
from relay.bounce.said import said

_FIXTURES = Path(__file__).parent / "fixtures"
#: Those that the rules were written with, and those that they have not seen.
SEEN, UNSEEN = _FIXTURES / "replies.txt", _FIXTURES / "replies_unseen.txt"
#: A set that was labelled before any rule was asked; see `halves`.
HALVES = _FIXTURES / "replies_halves.txt"
#: A set that another person has gathered and labelled before any rule was asked; rules were mended from it since.
SECOND_HAND = _FIXTURES / "replies_second.txt"
#: So many words in a row that two have in common make one no news for who knows the other.
_ALIKE = 6


class Labelled(NamedTuple):
    reply: str
    category: str
    action: str


class Share(NamedTuple):
    """How many of so many have the category, the action, and both, that they are labelled with."""

    count: int
    category: int
    action: int
    both: int

    def __str__(self) -> str:
        named = zip(self._fields[1:], self[1:], strict=True)
        return f"{self.count}: " + ", ".join(f"{name} {part} ({part / self.count:.0%})" for name, part in named)


def labelled(path: Path) -> Iterator[Labelled]:
    """A file's, in their order."""
    category = action = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("== "):
            category, _, action = line[3:].partition(" ")
        elif line and not line.startswith("#"):
            yield Labelled(line, category, action or by_code(int(line[:3])))


def halves(replies: Iterable[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Those that rules may be written from, and those that none may be: by a checksum, so nobody has chosen them."""
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for one in replies:
        parts[zlib.crc32(one.reply.encode()) % 2].append(one)
    return parts


def strange(replies: Sequence[Labelled], known: Sequence[Labelled]) -> list[Labelled]:
    """Those that have no phrase in common with any that is known."""
    phrases = {phrase for one in known for phrase in _phrases(one.reply)}
    return [one for one in replies if phrases.isdisjoint(_phrases(one.reply))]


def share(replies: Sequence[Labelled]) -> Share:
    """How good the shipped rules are at them."""
    book = Rulebook(shipped())
    found = [book.diagnosis(said(one.reply)) for one in replies]
    category = [a.category == b.category for a, b in zip(replies, found, strict=True)]
    action = [a.action == b.action for a, b in zip(replies, found, strict=True)]
    return Share(len(replies), sum(category), sum(action), sum(map(min, category, action)))


def shares(replies: Sequence[Labelled], field: str) -> dict[str, Share]:
    """The same of each category, or of each action, that they are labelled with; the most frequent first."""
    parts: dict[str, list[Labelled]] = {}
    for one in replies:
        parts.setdefault(getattr(one, field), []).append(one)
    return {name: share(part) for name, part in sorted(parts.items(), key=lambda item: (-len(item[1]), item[0]))}


def _by_codes(replies: Iterable[Labelled]) -> int:
    return sum(one.action == by_code(int(one.reply[:3])) for one in replies)


def _phrases(reply: str) -> set[tuple[str, ...]]:
    words = re.findall("[a-z]+", reply.lower())
    return {tuple(words[at : at + _ALIKE]) for at in range(max(1, len(words) - _ALIKE + 1))}


def _main() -> int:
    seen, unseen = list(labelled(SEEN)), list(labelled(UNSEEN))
    first, second = halves(labelled(HALVES))
    print("the first half, which rules are written from", share(first), sep=", ")
    print("the second half, which no rule has seen", share(second), sep=", ")
    print("the same by their codes alone: action", _by_codes(second))
    print("the older set", share(unseen), sep=", ")
    print("those of it without a phrase that rules were written with", share(strange(unseen, seen)), sep=", ")
    other = list(labelled(SECOND_HAND))
    print("the second person's set, which rules were mended from since", share(other), sep=", ")
    print("the same by their codes alone: action", _by_codes(other))
    for field in ("action", "category"):
        for name, part in shares(other, field).items():
            print(f"    {name:<10}", part)
    book = Rulebook(shipped())
    for one in first if "--wrong" in sys.argv else ():
        found = book.diagnosis(said(one.reply))
        if (found.category, found.action) != (one.category, one.action):
            print(f"{one.category} {one.action}, not {found.category} {found.action} (line {found.line}): {one.reply}")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
