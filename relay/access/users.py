"""The users' file: read when it has changed, and never worse than it was before.

    [users."alice@example.com"]
    password = "$argon2id$..."                    # or: scram = "SCRAM-SHA-256$4096:...$...:..."
    senders = ["alice@example.com", "@example.org"]
    from_domains = ["example.com"]
    zone = "bulk"
    messages = ["60/m", "1000/h"]
    recipients = ["10000/d"]
    tenant = "acme"
    disabled = false
"""

from __future__ import annotations

import os
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from twisted.logger import Logger

from relay.access.guesses import LONGEST_NAME
from relay.access.quota import read_limit
from relay.access.scram import Keys, read_keys
from relay.message.address import parse
from relay.message.labels import checked_tenant
from relay.message.user import User

_log = Logger()

#: How often the file is looked at, at most (seconds).
_LOOK = 1.0
#: A file of users is written by hand or by `zonerelay user`; anything larger is another file.
LARGEST = 16 << 20


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the file."""

    password: str = ""
    scram: str = ""
    senders: tuple[str, ...] = ()
    from_domains: tuple[str, ...] = ()
    zone: str = ""
    messages: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    tenant: str = ""
    disabled: bool = False


class Known(NamedTuple):
    """A user, and what proves that somebody is this user: an argon2 hash ("" for none), SCRAM keys."""

    user: User
    hash: str
    keys: Keys | None
    disabled: bool = False


class BadUsers(ValueError):
    """The file can't be used: which, where in it, and what was expected, in one line."""

    def __init__(self, text: str) -> None:
        # Names in the file may hold line ends, and what quotes them goes to the log.
        super().__init__("".join(char if char.isprintable() else "?" for char in text[:1000]))


class Users:
    """The users in one file."""

    def __init__(self, path: str, seconds: Callable[[], float]) -> None:
        """Reads it. Raises BadUsers. `seconds` is a clock that never jumps."""
        self._path = path
        self._seconds = seconds
        #: Grows with each new reading.
        self.generation = 0
        self._stamp = _stamp(path)
        self._known = read(path)
        #: Their names in order, of the generation that was `_sorted`.
        self._names: list[str] = []
        self._sorted = -1
        self._looked = seconds()

    def get(self, name: str) -> Known | None:
        """The user of this name, as the file says now."""
        self._look()
        return self._known.get(name.lower())

    def after(self, name: str) -> Iterator[Known]:
        """Those behind this name, in the order of their names in lower case."""
        self._look()
        if self._sorted != self.generation:
            self._names, self._sorted = sorted(self._known), self.generation
        known = self._known
        start = bisect_right(self._names, name.lower())
        return (known[name] for name in islice(self._names, start, None))

    def any_with_keys(self) -> bool:
        """Whether anybody can log in by SCRAM."""
        self._look()
        return any(known.keys is not None for known in self._known.values())

    def all_with_keys(self) -> bool:
        """Whether everybody who has a password can log in by SCRAM."""
        self._look()
        return all(known.keys is not None for known in self._known.values() if known.hash)

    def _look(self) -> None:
        now = self._seconds()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = read(self._path)
        except BadUsers as error:
            _log.error("{error}; the users of before stay", error=str(error))
            return
        self.generation += 1
        _log.info("{path}: {n} users", path=self._path, n=len(self._known))


def read(path: str) -> dict[str, Known]:
    """The users in the file at `path` by their names in lower case. Raises BadUsers."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadUsers(f"{path}: larger than {LARGEST >> 20} MB")
        table = tomllib.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BadUsers):
            raise
        raise BadUsers(f"{path}: can't be read: {error}") from None
    users = table.pop("users", {})
    if table or not isinstance(users, dict):
        raise BadUsers(f'{path}: expected tables [users."name"] and nothing else')
    found: dict[str, Known] = {}
    for name, section in users.items():
        where = f'{path}: users."{name}"'
        if name.lower() in found:
            raise BadUsers(f"{where}: differs from another by case alone")
        try:
            found[name.lower()] = _known(name, msgspec.convert(section, Entry))
        except (ValueError, msgspec.ValidationError) as error:
            raise BadUsers(f"{where}: {error}") from None
    return found


def _known(name: str, entry: Entry) -> Known:
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise ValueError("expected a name of printable characters")
    if entry.password:
        try:
            extract_parameters(entry.password)
        except InvalidHashError:
            raise ValueError("password: expected an argon2 hash ($argon2id$...)") from None
    user = User(
        name,
        tuple(map(_sender, entry.senders)),
        tuple(map(_domain, entry.from_domains)),
        entry.zone,
        tuple(map(read_limit, entry.messages)),
        tuple(map(read_limit, entry.recipients)),
        tenant=checked_tenant(entry.tenant),
    )
    keys = read_keys(entry.scram) if entry.scram else None
    if entry.disabled:
        return Known(user, "", None, disabled=True)
    return Known(user, entry.password, keys)


def _sender(text: str) -> str:
    """An address, or a domain behind an @, in the form in which MAIL's is compared."""
    try:
        return f"@{_domain(text[1:])}" if text.startswith("@") else parse(text, utf8=True).text
    except ValueError:
        expected = 'senders: expected an address, or a domain such as "@example.com"'
        raise ValueError(f'{expected}, got "{text[:60]}"') from None


def _domain(text: str) -> str:
    try:
        return parse(f"x@{text}").domain
    except ValueError:
        raise ValueError(f'from_domains: expected a domain such as "example.com", got "{text[:60]}"') from None


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
