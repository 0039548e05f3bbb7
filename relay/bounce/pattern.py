"""What a rule looks for in the words of a reply: a small language in which nothing takes long. Pure.

    user {unknown|not found}    these words, in this order, as whole words
    blocked * spamhaus          with up to 80 characters between them
    block*  *.spamhaus.org      a word that begins, or ends, so
    rp-#                        digits

There is no repetition but these, and each is bounded: whatever a stranger writes, to look for a pattern in it costs
no more than in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

#: The longest gap (characters).
GAP = 80
#: Of one pattern: characters, choices, alternatives of one choice, and digits and parts of words between two gaps.
LONGEST, MOST_CHOICES, MOST_ALTERNATIVES, MOST_OPEN = 500, 6, 60, 2

#: No place inside a word.
_EDGE = r"(?:(?<![a-z0-9])|(?![a-z0-9]))"
_OPEN = {"*": "[^ ]{0,40}", "#": "[0-9]{1,9}"}
_token = re.compile(r"\{[^{}]{0,499}\}|[*#{}|]|[^*#{}|]+").findall
words_of = re.compile(r"[a-z0-9]+", re.ASCII).findall


class BadPattern(ValueError):
    """It is none; the text says why."""


class Pattern:
    """One of them.

    Attributes:
        text: as it was written.
        keys: words of which each text has one that it is found in; none, if there are no such words.
    """

    def __init__(self, text: str) -> None:
        """Raises BadPattern."""
        self.text = text
        if not 0 < len(text) <= LONGEST:
            raise BadPattern(f"expected 1 to {LONGEST} characters")
        pieces = [piece.strip() for piece in re.split(r"(?<![^ ])\*(?![^ ])", " ".join(text.lower().split()))]
        if not all(pieces):
            raise BadPattern("expected words on both sides of a * that stands alone")
        choices: list[frozenset[str]] = []
        self._expressions = [_expression(piece, choices) for piece in pieces]
        if text.count("{") > MOST_CHOICES:
            raise BadPattern(f"expected at most {MOST_CHOICES} choices")
        self.keys = max(choices, key=_worth, default=frozenset())

    @cached_property
    def _pieces(self) -> list[re.Pattern[str]]:
        """Made when first asked for: most rules of a file never are."""
        return [re.compile(expression, re.ASCII) for expression in self._expressions]

    def found(self, words: str) -> bool:
        """Whether `words`, in lower case and with single blanks, have it."""
        first, *others = self._pieces
        if not others:
            return first.search(words) is not None
        ends: Sequence[int] = [match.end() for match in first.finditer(words)]
        for piece in others:
            ends = list(_continued(ends, piece, words))
        return bool(ends)


def _continued(ends: Sequence[int], piece: re.Pattern[str], words: str) -> Iterator[int]:
    """Where `piece` ends behind one of `ends`, and not too far behind."""
    passed, last = 0, -GAP - 1
    if not ends:
        return
    for match in piece.finditer(words):
        while passed < len(ends) and ends[passed] <= match.start():
            last = ends[passed]
            passed += 1
        if match.start() - last <= GAP and passed:
            yield match.end()


def _worth(words: frozenset[str]) -> tuple[int, int]:
    """Long words are rare ones."""
    return min(map(len, words)), -len(words)


def _expression(piece: str, choices: list[frozenset[str]]) -> str:
    """A piece without gaps as a regular expression. The words that it can't do without join `choices`."""
    tokens = _token(piece)
    if sum(piece.count(mark) for mark in _OPEN) > MOST_OPEN:
        raise BadPattern(f"expected at most {MOST_OPEN} # and * at a word between two gaps")
    parts: list[str] = []
    for number, token in enumerate(tokens):
        before = tokens[number - 1][-1:] if number else " "
        after = tokens[number + 1][:1] if number + 1 < len(tokens) else " "
        if token in ("{", "}", "|"):
            raise BadPattern(f"expected choices such as {{one|another}}, got a {token} alone")
        if token[0] == "{":
            parts.append(_choice(token[1:-1], _is_edge(before) and _is_edge(after), choices))
        elif token in _OPEN:
            parts.append(_OPEN[token])
        else:
            parts.append(re.escape(token))
            choices.extend(frozenset((word,)) for word in _whole(token, before, after))
    if not any(map(words_of, tokens)):
        raise BadPattern("expected a word or a number")
    begin = "" if tokens[0] == "*" else _EDGE
    end = "" if tokens[-1] == "*" else _EDGE
    return begin + "".join(parts) + end


def _choice(inside: str, alone: bool, choices: list[frozenset[str]]) -> str:
    alternatives = inside.split("|")
    if not 1 < len(alternatives) <= MOST_ALTERNATIVES:
        raise BadPattern(f"expected 2 to {MOST_ALTERNATIVES} alternatives, got {len(alternatives)}")
    keys = [max(words_of(one), key=len, default="") if not re.search(r"[*#]", one) else "" for one in alternatives]
    if alone and all(keys):
        choices.append(frozenset(keys))
    return "(?:" + "|".join(map(_literal, alternatives)) + ")"


def _literal(text: str) -> str:
    """Text with open places in it as a regular expression."""
    return "".join(_OPEN.get(part) or re.escape(part) for part in re.split("([*#])", text))


def _is_edge(letter: str) -> bool:
    return not (letter.isalnum() or letter in "*#{}")


def _whole(text: str, before: str, after: str) -> list[str]:
    """The words of a literal that can't be parts of longer ones."""
    found = words_of(text)
    if found and not _is_edge(before) and text.startswith(found[0]):
        found = found[1:]
    if found and not _is_edge(after) and text.endswith(found[-1]):
        found = found[:-1]
    return found
