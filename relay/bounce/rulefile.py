"""Reads a file of rules: all of it, or an error that says what is wrong with it, and where.

    [[rules]]
    category = "recipient"          # one of CATEGORIES
    action = "reject"               # or "defer", "slowdown"; without it the code decides
    fault = "recipient"             # without it as is usual for the category
    message = "Nobody has this mailbox"
    code = [550, "4xx"]             # a reply has one of these,
    status = ["5.1.1", "*.1.1"]     # one of these,
    match = ["no such user", "user * unknown"]    # and one of these (relay.bounce.pattern)
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, get_args

from relay.bounce.diagnosis import CATEGORIES, Action, Fault
from relay.bounce.pattern import BadPattern, Pattern
from relay.bounce.rule import Rule

#: A file is at most so large (bytes), and has at most so many rules: each pattern is one.
LARGEST, MOST = 512 * 1024, 5000
#: What is wrong with a file is said up to here (lines).
_MOST_ERRORS = 20
_LONGEST_MESSAGE = 200
#: The next value of a list is looked for on so many lines.
_NEAR = 50
#: The name that the relay's own rules go by.
SHIPPED = "shipped rules"

_KEYS = frozenset(("category", "action", "fault", "message", "code", "status", "match"))
_is_code = re.compile(r"[3-5](?:[0-9]{2}|xx)", re.ASCII).fullmatch
_is_status = re.compile(r"(?:[45*]\.[0-9]{1,3}\.(?:[0-9]{1,3}|\*)|[45]\.\*\.\*)", re.ASCII).fullmatch
_place = re.compile(r" \(at line ([0-9]+), column [0-9]+\)").search


class BadRules(ValueError):
    """A file that can't be used; `problems` has a line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        # What quotes the file goes to the log, and it may hold line ends.
        self.problems = ["".join(char if char.isprintable() else "?" for char in one[:400]) for one in problems]
        super().__init__("\n".join(self.problems))


@cache
def shipped() -> tuple[Rule, ...]:
    """The relay's own rules."""
    return tuple(parse(resources.files("relay.bounce").joinpath("rules.toml").read_text("utf-8"), SHIPPED))


def read(path: str) -> list[Rule]:
    """The rules in the file at `path`, in their order. Raises BadRules."""
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadRules([f"{path}: expected a plain file"])
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadRules([f"{path}: expected at most {LARGEST >> 10} KB"])
        return parse(data.decode("utf-8-sig"), path)
    except OSError as error:
        raise BadRules([f"{path}: can't be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise BadRules([f"{path}:{data.count(10, 0, error.start) + 1}: expected UTF-8"]) from None


def parse(text: str, name: str) -> list[Rule]:
    """The rules in `text`, which messages call `name`. Raises BadRules."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it can't be read"
        at = _place(reason)
        where = name if at is None else f"{name}:{at[1]}"
        raise BadRules([f"{where}: expected TOML: {reason[: at.start()] if at is not None else reason}"]) from None
    groups = table.pop("rules", [])
    if table or not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise BadRules([f"{name}: expected tables [[rules]] and nothing else"])
    rules: list[Rule] = []
    problems: list[str] = []
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)]
    for number, group in enumerate(groups):
        begin = starts[number] if number < len(starts) else 1
        end = starts[number + 1] - 1 if number + 1 < len(starts) else len(lines)
        try:
            rules += _rules(group, name, _Lines(lines, begin, end))
        except _Wrong as error:
            problems.append(f"{name}:{error.line}: {error}")
        if len(rules) > MOST:
            problems.append(f"{name}: expected at most {MOST} rules")
        if len(problems) >= _MOST_ERRORS or len(rules) > MOST:
            break
    if problems:
        raise BadRules(problems)
    return rules


class _Wrong(ValueError):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Lines:
    """Where in a file the values of one group stand, since tomllib doesn't tell."""

    def __init__(self, lines: list[str], begin: int, end: int) -> None:
        self._lines, self.begin, self._here, self._end = lines, begin, begin, end

    def key(self, key: str) -> int:
        """The line of a key; what is looked for next comes behind it."""
        found = re.compile(rf"\s*{re.escape(key)}\s*=").match
        self._here = next((n for n in range(self.begin, self._end + 1) if found(self._lines[n - 1])), self.begin)
        return self._here

    def next(self, value: str) -> int:
        """The line of the next value of a list; that of the one before it where it can't be made out."""
        for number in range(self._here, min(self._end, self._here + _NEAR) + 1):
            if value in self._lines[number - 1]:
                self._here = number
                return number
        return self._here


def _rules(group: dict[str, Any], name: str, lines: _Lines) -> Iterator[Rule]:
    for key in group:
        if key not in _KEYS:
            raise _Wrong(lines.key(key), f"unknown key {key}: expected one of {', '.join(sorted(_KEYS))}")
    category = _word(group, "category", tuple(CATEGORIES), lines)
    if not category:
        raise _Wrong(lines.begin, "expected a category")
    fault, message = CATEGORIES[category]
    message = group.get("message", message)
    if not isinstance(message, str) or not 0 < len(message) <= _LONGEST_MESSAGE or not message.isprintable():
        raise _Wrong(lines.key("message"), f"message: expected 1 to {_LONGEST_MESSAGE} printable characters")
    codes = [str(code) for code in _list(group, "code", (int, str), lines)]
    statuses = _list(group, "status", (str,), lines)
    for key, values, fits, example in (
        ("code", codes, _is_code, '550 or "5xx"'),
        ("status", statuses, _is_status, '"5.1.1", "5.7.*" or "*.1.1"'),
    ):
        for value in values:
            if not fits(value):
                raise _Wrong(lines.key(key), f"{key}: expected {example}, got {value[:40]}")
    common = Rule(
        category,
        _word(group, "fault", get_args(Fault), lines) or fault,  # type: ignore[arg-type]
        message,
        name,
        lines.begin,
        _word(group, "action", get_args(Action), lines),
        tuple(codes),
        tuple(statuses),
    )
    patterns = _list(group, "match", (str,), lines)
    if patterns:
        lines.key("match")
        for text in patterns:
            line = lines.next(text)
            try:
                yield common._replace(pattern=Pattern(text), line=line)
            except BadPattern as error:
                raise _Wrong(line, f"match: {error}, got {text[:60]!r}") from None
    elif statuses or codes:
        # Each is a rule of its own, so that it can be told by its line.
        key = "status" if statuses else "code"
        lines.key(key)
        for one in statuses or codes:
            line = lines.next(one)
            yield common._replace(line=line, statuses=(one,)) if statuses else common._replace(line=line, codes=(one,))
    else:
        raise _Wrong(lines.begin, "expected a match, a status or a code: it would fit every reply")


def _word(group: dict[str, Any], key: str, known: tuple[str, ...], lines: _Lines) -> str:
    """One of the known ones, "" where there is none."""
    value = group.get(key, "")
    if value not in known and key in group:
        raise _Wrong(lines.key(key), f"{key}: expected one of {', '.join(known)}, got {str(value)[:40]}")
    return str(value)


def _list(group: dict[str, Any], key: str, kinds: tuple[type, ...], lines: _Lines) -> list[Any]:
    """A list, or one value by itself."""
    value = group.get(key, [])
    values = value if isinstance(value, list) else [value]
    if (not values and key in group) or any(type(one) not in kinds for one in values):
        what = " or ".join("a number" if kind is int else "a string" for kind in kinds)
        raise _Wrong(lines.key(key), f"{key}: expected {what}, or a list of them")
    return values
