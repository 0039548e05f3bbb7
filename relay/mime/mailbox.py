"""Who is named in From, To and the like, with names: read from text (RFC 5322 3.4) and written again. Pure.

The reader takes what people write by hand too: semicolons between addresses, a name in a comment, dots and letters
beyond ASCII in a name. An address that can't be made out is an error, as anywhere here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from relay.message.address import Address, parse
from relay.mime.field import folded
from relay.mime.unfit import Unfit
from relay.mime.words import encoded

#: Words and marks in a list: so many, and for each address so many more.
_PARTS = 1000
_PARTS_OF_ONE = 50
#: Longest word of a name that is written as it is (characters).
_LONGEST_WORD = 500

_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_token = re.compile(
    rf"(?P<blank>\s++)|(?P<quoted>{_QUOTED})|<(?P<angle>(?:{_QUOTED}|[^<>\"])*+)>|(?P<mark>[(,;:])"
    r'|(?P<word>(?:\[[^\[\]\s]*+\]|[^\s"<>(),;:\[\]\\])++)'
).match
#: Longest text with a single address that is worth remembering (characters).
_SHORT = 200
#: One address as most are written: all by itself, or behind a name of atoms.
_plain = re.compile(
    r"(?P<name>[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]*)<(?P<angle>[^<>\"\s]+)>" r"|(?P<bare>[^<>\"(),;:\\\s]+)"
).fullmatch
_comment_part = re.compile(r"[^()\\]++|\\.|(?P<mark>[()])").match
_unescaped = re.compile(r"\\(.)").sub
_special = re.compile(r'["\\]').sub
_atoms = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*").fullmatch


class Mailbox(NamedTuple):
    """A name, "" for none, and an address."""

    name: str
    address: Address


class Group(NamedTuple):
    """A name, and those it stands for, perhaps nobody (RFC 5322 3.4)."""

    name: str
    mailboxes: tuple[Mailbox, ...]


Named = Mailbox | Group


def flat(named: Iterable[Named]) -> Iterator[Mailbox]:
    """All mailboxes, those in groups too."""
    for one in named:
        if isinstance(one, Group):
            yield from one.mailboxes
        else:
            yield one


def address_field(field: str, name: str, named: Sequence[Named]) -> str:
    """A field of addresses; "" for none. An address beyond ASCII is written in UTF-8 (RFC 6532). Raises Unfit."""
    if not named:
        return ""
    return folded(field, name, ", ".join(map(_shown, named)))


def _shown(one: Named) -> str:
    if isinstance(one, Group):
        return f"{_phrase(one.name)}: {', '.join(map(_shown, one.mailboxes))};"
    address = one.address.text
    if one.name:
        return f"{_phrase(one.name)} <{address}>"
    # In front of an address without brackets many readers take what is in quotes for a name.
    return f"<{address}>" if address.startswith('"') else address


def _phrase(name: str) -> str:
    """A name as a phrase: atoms, a quoted string, or encoded words."""
    if not name.isascii() or max(map(len, name.split()), default=0) > _LONGEST_WORD:
        return encoded(name)
    if _atoms(name) and "=?" not in name and "  " not in name:
        return name
    return '"' + _special(r"\\\g<0>", name) + '"'


def mailboxes(field: str, text: str, limit: int) -> list[Named]:
    """The addresses of a list, which is one line of text, at most `limit`. Raises Unfit."""
    plain = _plainly(text) if limit and len(text) <= _SHORT else None
    if plain is not None:
        return [plain]
    reader = _Reader(field, limit)
    position = 0
    for _ in range(_PARTS + _PARTS_OF_ONE * limit):
        if position == len(text):
            return reader.end()
        found = _token(text, position)
        if found is None:
            raise Unfit(field, "expected a list of addresses")
        position = found.end()
        if found["mark"] == "(":
            position, said = _comment(field, text, position)
            reader.comment = reader.comment or said
        elif found["mark"]:
            reader.mark(found["mark"])
        elif found["angle"] is not None:
            reader.in_angles(found["angle"])
        else:
            reader.word(found[0], found["quoted"])
    raise Unfit(field, "too many parts in a list of addresses")


@lru_cache(1024)
def _plainly(text: str) -> Mailbox | None:
    """The one address of a text that is written as most are; None: it isn't. The same authors come again and again."""
    found = _plain(text)
    try:
        return found and Mailbox((found["name"] or "").strip(), parse(found["angle"] or found["bare"], utf8=True))
    except ValueError:
        return None


def mailbox(field: str, name: str, address: str) -> Mailbox:
    """A mailbox of which name and address are given, each one line. Raises Unfit."""
    try:
        return Mailbox(name, parse(address, utf8=True))
    except ValueError as error:
        raise Unfit(field, f"expected a mail address: {error}") from None


def _comment(field: str, text: str, position: int) -> tuple[int, str]:
    """Where the comment ends whose text begins there, and what it says."""
    depth = 1
    said: list[str] = []
    while True:
        found = _comment_part(text, position)
        if found is None:
            raise Unfit(field, "expected a list of addresses: comment without end")
        position = found.end()
        depth += (found["mark"] == "(") - (found["mark"] == ")")
        if not depth:
            return position, _unescaped(r"\1", "".join(said)).strip()
        said.append(found[0])


class _Reader:
    """Puts the parts of one mailbox after the other together.

    Attributes:
        comment: the first one beside the mailbox.
    """

    def __init__(self, field: str, limit: int) -> None:
        self._field = field
        self._room = limit
        self._found: list[Named] = []
        self._group: list[Mailbox] | None = None
        self._group_name = ""
        self._clear()

    def _clear(self) -> None:
        self._name: list[str] = []
        self._raw: list[str] = []
        self._angle: str | None = None
        self.comment = ""

    def word(self, text: str, quoted: str | None) -> None:
        """A word of a name or a part of an address, or the blank between them."""
        if self._angle is not None and not text.isspace():
            raise Unfit(self._field, "expected a comma behind an address")
        self._raw.append(text)
        self._name.append(" " if text.isspace() else text if quoted is None else _unescaped(r"\1", text[1:-1]))

    def in_angles(self, address: str) -> None:
        if self._angle is not None:
            raise Unfit(self._field, "expected a comma behind an address")
        self._angle = address.strip()

    def mark(self, mark: str) -> None:
        """A comma, a semicolon, or the colon behind the name of a group."""
        if mark == ":":
            if self._group is not None or self._angle is not None:
                raise Unfit(self._field, "expected a list of addresses")
            self._group, self._group_name = [], "".join(self._name).strip()
            self._clear()
            return
        self._take()
        if mark == ";":
            self._close()

    def end(self) -> list[Named]:
        self._take()
        self._close()
        return self._found

    def _take(self) -> None:
        """What was read up to here is one mailbox, or nothing."""
        raw, name = "".join(self._raw).strip(), "".join(self._name).strip()
        if self._angle is not None:
            one = mailbox(self._field, name or self.comment, self._angle)
        elif raw:
            one = mailbox(self._field, self.comment, raw)
        else:
            self._clear()
            return
        if not self._room:
            raise Unfit(self._field, "too many addresses")
        self._room -= 1
        self._clear()
        if self._group is None:
            self._found.append(one)
        else:
            self._group.append(one)

    def _close(self) -> None:
        if self._group is not None:
            self._found.append(Group(self._group_name, tuple(self._group)))
            self._group = None
