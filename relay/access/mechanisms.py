"""SASL mechanisms without a connection: what a client says, taken apart (RFC 4616, 4422).

A mechanism is stepped with each response. It gives the next challenge as bytes, or what has
to be found out before it can go on, or that it is through. None of them knows users.
"""

from __future__ import annotations

from typing import NamedTuple

#: Longest name and longest password (characters).
LONGEST = 1024


class Failed(Exception):
    """Nobody logs in by these words. The reason is for the log, never for the client."""


class Password(NamedTuple):
    """To be checked: whether this is the password of that user."""

    name: str
    password: str


class Wanted(NamedTuple):
    """The SCRAM keys of this user are needed to go on."""

    name: str


class Claim(NamedTuple):
    """The client is who its certificate says; `name` is as whom it will act, "" for just that."""

    name: str


class Vouched(NamedTuple):
    """A relay that we trust has found out that it is this user."""

    name: str


class Proven(NamedTuple):
    """The exchange is through: it is this user."""

    name: str


class Plain:
    """PLAIN: everything in one response."""

    def step(self, response: bytes | None) -> bytes | Password:
        """Raises Failed."""
        if response is None:
            return b""
        words = response.split(b"\0")
        if len(words) != 3:
            raise Failed("not three words")
        authzid, name, password = words
        if authzid not in (b"", name):
            raise Failed("acting for somebody else")
        return checked(name, password)


class Login:
    """LOGIN: asked for the name, then for the password; the name may come with the command."""

    def __init__(self) -> None:
        self._name: bytes | None = None
        self._asked = False

    def step(self, response: bytes | None) -> bytes | Password:
        """Raises Failed."""
        if response is None and not self._asked:
            self._asked = True
            return b"Username:"
        if self._name is None:
            self._name = response or b""
            return b"Password:"
        return checked(self._name, response or b"")


class External:
    """EXTERNAL: the certificate has said it."""

    def step(self, response: bytes | None) -> bytes | Claim:
        """Raises Failed."""
        if response is None:
            return b""
        return Claim(_text(response))


class Voucher:
    """XCLIENT LOGIN: just the name."""

    def step(self, response: bytes | None) -> Vouched:
        """Raises Failed."""
        return Vouched(_text(response or b""))


def checked(name: bytes, password: bytes) -> Password:
    """Both within their bounds. Raises Failed."""
    given = Password(_text(name), _text(password))
    if not (0 < len(given.name) <= LONGEST and 0 < len(given.password) <= LONGEST):
        raise Failed("empty or too long")
    if not given.name.isprintable():
        raise Failed("control characters in the name")
    return given


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Failed("not UTF-8") from None
    if "\0" in text:
        raise Failed("a zero byte")
    return text
