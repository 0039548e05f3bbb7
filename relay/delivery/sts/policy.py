"""The record that tells of a policy, and the policy itself, as a domain has written them (RFC 8461 3). Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Where they are found.
RECORD = "_mta-sts."
HOST = "mta-sts."
PATH = "/.well-known/mta-sts.txt"

#: Largest policy that is read (bytes; 3.3).
LARGEST = 64 * 1024
#: Patterns of one policy; the most that are in use have a few.
MOST_MX = 100
#: Longest life of a policy (seconds; 3.2): a longer one is as long.
MAX_AGE = 31_557_600

_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}").fullmatch
_id = re.compile(r"[A-Za-z0-9]{1,32}").fullmatch
_extension = re.compile(r"[!-:<>-~]+").fullmatch
_seconds = re.compile(r"[0-9]{1,10}").fullmatch
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_pattern = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}").fullmatch


class Mode(enum.StrEnum):
    """What is done about hosts that don't fit."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class BadPolicy(ValueError):
    """Not a policy; the text says why, and can be logged."""


class StsPolicy(NamedTuple):
    """The policy of a domain.

    `mx` are names of hosts in lower case, and patterns whose first label is `*`; there is one at least, unless `mode`
    is none. `max_age` is how long it holds from when it was fetched (seconds).
    """

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether a mail exchanger is one of those that are meant (4.1). `*` stands for one label, the first."""
        name = host.rstrip(".").lower()
        label, _, domain = name.partition(".")
        return name in self.mx or (bool(label and domain) and f"*.{domain}" in self.mx)

    def lines(self) -> tuple[str, ...]:
        """As it is written."""
        return ("version: STSv1", f"mode: {self.mode}", *(f"mx: {mx}" for mx in self.mx), f"max_age: {self.max_age}")


def record_id(texts: Iterable[str]) -> str | None:
    """Which policy it is, by the texts at `_mta-sts.DOMAIN` (3.1). None: the domain has no record, or two, or one
    that is damaged, which all say that there is no policy."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
    if len(records) != 1:
        return None
    found: str | None = None
    fields = [field.strip(" \t") for field in records[0].split(";")][1:]
    if fields[-1] == "":
        fields.pop()
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not _name(name) or not _extension(value):
            return None
        if name == "id" and found is None:
            if not _id(value):
                return None
            found = value
    return found


def parse(data: bytes) -> StsPolicy:
    """The policy that a file says. Fields that are unknown are passed over, of one that is there twice the first
    counts, and empty lines do no harm.

    Raises:
        BadPolicy: it isn't one, or there is too much of it.
    """
    if len(data) > LARGEST:
        raise BadPolicy(f"longer than {LARGEST} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadPolicy("not UTF-8") from None
    said: dict[str, str] = {}
    mx: dict[str, None] = {}
    for name, value in _fields(text):
        if name == "mx":
            mx[_mx(value)] = None
        else:
            said.setdefault(name, value)
    if said.get("version") != "STSv1":
        raise BadPolicy('it has no "version: STSv1"')
    mode = said.get("mode")
    if mode not in tuple(Mode):
        raise BadPolicy('it has no mode that is "enforce", "testing" or "none"')
    if not _seconds(said.get("max_age", "")):
        raise BadPolicy("it has no max_age in seconds")
    if len(mx) > MOST_MX:
        raise BadPolicy(f"more than {MOST_MX} mx")
    if not mx and mode != Mode.NONE:
        raise BadPolicy("it has no mx")
    return StsPolicy(Mode(mode), tuple(mx), min(int(said["max_age"]), MAX_AGE))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Raises BadPolicy."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r").rstrip(" \t")
        if not line:
            continue
        name, colon, value = line.partition(":")
        value = value.lstrip(" \t")
        if not colon or not _name(name) or not value or not value.replace("\t", " ").isprintable():
            raise BadPolicy(f'line {number} is no "name: value"')
        yield name, value


def _mx(value: str) -> str:
    """Raises BadPolicy."""
    pattern = value.lower()
    if not value.isascii() or len(pattern) > 255 or not _pattern(pattern):
        raise BadPolicy("an mx that is no host name, nor one whose first label is *")
    return pattern
