"""Who is named in From, Sender, To, Cc and Bcc (RFC 5322 3.4), for mail without an envelope.

Groups, comments, quoted names and the obsolete blanks and routes are understood. What
can't be made out is an error rather than a guess: a guess would send mail to a stranger.
"""

from __future__ import annotations

import re

from relay.message.address import Address, parse
from relay.message.headers import HeaderBlock

#: Words, marks and blanks in a list: so many, and for each address so many more.
_PARTS = 1000
_PARTS_OF_ONE = 50

_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_LITERAL = r"\[[^\[\]\\]*+\]"
_WORD = r'[^\s()<>,;:\\"\[\]@.]++'
_token = re.compile(rf"\s++|(?P<word>{_QUOTED}|{_LITERAL}|{_WORD})|(?P<mark>[()<>,;:@.])", re.DOTALL).match
_comment_part = re.compile(r"[^()\\]++|\\.|(?P<mark>[()])", re.DOTALL).match


def sender_of(block: HeaderBlock) -> Address:
    """The envelope sender a header stands for: From, or Sender when From names several.

    Raises:
        ValueError: there is none, or it is no address.
    """
    authors = parse_list(", ".join(block.all("From")), 100)
    if len(authors) == 1:
        return authors[0]
    senders = parse_list(block.get("Sender") or "", 1)
    if not senders:
        raise ValueError("several From addresses and no Sender" if authors else "no From address")
    return senders[0]


def recipients_of(block: HeaderBlock, limit: int) -> list[Address]:
    """The addresses in To, Cc and Bcc, in this order, repetitions included.

    Raises:
        ValueError: one of them is no address, or they are more than `limit`.
    """
    values = [value for name in ("To", "Cc", "Bcc") for value in block.all(name)]
    return parse_list(", ".join(values), limit)


def parse_list(text: str, limit: int, utf8: bool = False) -> list[Address]:
    """The addresses of an address-list, members of groups among them; with `utf8` local parts may go beyond
    ASCII. Nobody is served meanwhile, so that a list of far more parts than so many addresses have isn't read to
    its end.

    Raises:
        ValueError: `text` is no address-list, or has more than `limit` addresses.
    """
    found: list[Address] = []
    reader = _Reader(utf8)
    position = depth = 0
    for _ in range(_PARTS + _PARTS_OF_ONE * limit):
        if position == len(text):
            break
        match = (_comment_part if depth else _token)(text, position)
        if match is None:
            raise ValueError("comment without end" if depth else "bad address list")
        position = match.end()
        mark = match["mark"]
        if mark == "(":
            depth += 1
        elif depth:
            depth -= mark == ")"
        elif mark:
            _found(reader.mark(mark), found, limit)
        elif word := match["word"]:
            reader.word(word)
    else:
        raise ValueError("too many parts in an address list")
    if depth:
        raise ValueError("comment without end")
    _found(reader.end(), found, limit)
    return found


def _found(address: Address | None, found: list[Address], limit: int) -> None:
    if address is not None:
        if len(found) == limit:
            raise ValueError("too many addresses")
        found.append(address)


class _Reader:
    """Puts the tokens of one mailbox after the other together."""

    __slots__ = ("_angle", "_closed", "_group", "_parts", "_route", "_utf8", "_was_word")

    def __init__(self, utf8: bool) -> None:
        self._utf8 = utf8
        self._group = False
        self._clear()

    def _clear(self) -> None:
        self._parts: list[str] = []
        self._angle = self._closed = self._route = self._was_word = False

    def word(self, text: str) -> None:
        if self._closed:
            raise ValueError("words behind an address")
        if self._was_word:
            self._parts.append(" ")  # two words are no local part: the address check refuses it
        self._parts.append(text)
        self._was_word = True

    def mark(self, mark: str) -> Address | None:
        """Takes one of `<>,;:@.`; the address that a comma or semicolon ended."""
        if mark in ".@":
            if self._closed:
                raise ValueError("words behind an address")
            self._route |= mark == "@" and self._angle and not self._parts
            self._parts.append(mark)
            self._was_word = False
        elif mark == "<" and not self._angle:
            self._clear()
            self._angle = True
        elif mark == ">" and self._angle and not self._closed:
            self._closed = True
        elif self._angle and not self._closed:
            self._inside_route(mark)
        elif mark == ":" and not self._group and not self._angle:
            self._group = True
            self._clear()
        elif mark == "," or (mark == ";" and self._group):
            self._group &= mark == ","
            return self._taken()
        else:
            raise ValueError("bad address list")
        return None

    def _inside_route(self, mark: str) -> None:
        """`<@a,@b:user@c>`: the route (RFC 5322 4.4) is left out."""
        if not self._route or mark not in ",:":
            raise ValueError("bad address list")
        self._parts = []
        self._was_word = False
        self._route = mark == ","

    def end(self) -> Address | None:
        """The last address, when no comma follows it."""
        if self._angle and not self._closed:
            raise ValueError("bad address list")
        return self._taken()

    def _taken(self) -> Address | None:
        text, angle = "".join(self._parts), self._angle
        self._clear()
        if text or angle:
            return parse(text, self._utf8)
        return None
