"""Which metrics, labels and values an expression of Prometheus asks for, read by its words.

Not all of PromQL: no subqueries, no numbers but decimal ones. What isn't known is an error, so that nothing
goes unread.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FUNCTIONS = frozenset(
    ("sum", "max", "min", "absent", "rate", "increase", "predict_linear", "histogram_quantile"),
)
GROUPING = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
WORDS = frozenset(("and", "or", "unless", "bool", "offset"))

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<range>\[[^\]]*\])
    |(?P<duration>\d+[smhdw])\b
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<name>[A-Za-z_:][\w:]*)
    |(?P<mark>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},]))""",
    re.VERBOSE,
)


class Asked(NamedTuple):
    """A series that is asked for: by its name, with these matchers (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()


class Question(NamedTuple):
    """All that an expression asks for, and the labels by which it groups and joins."""

    series: list[Asked]
    labels: set[str]


def tokens(expression: str) -> list[tuple[str, str]]:
    """(kind, text) of each. Raises ValueError."""
    found, at, text = [], 0, expression.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"not understood: {text[at:]!r} in {expression!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def read(expression: str) -> Question:
    """Raises ValueError for what isn't understood."""
    question = Question([], set())
    left = [*tokens(expression), ("end", "")]
    at = 0
    while left[at][0] != "end":
        kind, text = left[at]
        following = left[at + 1][1]
        at += 1
        if kind != "name":
            continue
        if text in GROUPING:
            names, at = _list(left, at)
            question.labels.update(names)
        elif following == "(" or (text in FUNCTIONS and following in GROUPING):
            if text not in FUNCTIONS and text not in WORDS:
                raise ValueError(f"no function that is known: {text}")
        elif text not in WORDS:
            matchers: tuple[tuple[str, str, str], ...] = ()
            if following == "{":
                matchers, at = _matchers(left, at)
            question.series.append(Asked(text, matchers))
    return question


def _list(left: list[tuple[str, str]], at: int) -> tuple[list[str], int]:
    """Names in parentheses, and what follows them."""
    if left[at][1] != "(":
        raise ValueError("grouping without labels")
    end = next(i for i in range(at, len(left)) if left[i][1] == ")")
    return [text for kind, text in left[at:end] if kind == "name"], end + 1


def _matchers(left: list[tuple[str, str]], at: int) -> tuple[tuple[tuple[str, str, str], ...], int]:
    """What stands between braces, and what follows them."""
    found = []
    at += 1
    while left[at][1] != "}":
        (kind, label), (_, operator), (value_kind, value) = left[at : at + 3]
        if kind != "name" or value_kind != "string" or operator not in ("=", "!=", "=~", "!~"):
            raise ValueError(f"no matcher: {label} {operator} {value}")
        found.append((label, operator, value[1:-1]))
        at += 3
        if left[at][1] == ",":
            at += 1
        elif left[at][1] != "}":
            raise ValueError("matchers without end")
    return tuple(found), at + 1
