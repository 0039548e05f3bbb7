"""Secrets that a configuration names and doesn't hold: they are in a file, or in the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Literal, Protocol

from relay.config.lines import Path
from relay.config.load import dotted
from relay.config.schema import Zone

#: What a login is for: the keys of a zone that are about it begin so.
Kind = Literal["auth", "egress"]
#: Longest password of each (bytes; RFC 1929 2).
LONGEST: Mapping[Kind, int] = {"auth": 1024, "egress": 255}
#: Secrets of one section: bytes of each, and how many there may be.
_SHORTEST, _LONGEST, _MOST = 16, 1024, 10


class Signing(Protocol):
    """A section that names secrets."""

    @property
    def secret_file(self) -> str: ...
    @property
    def secret_variable(self) -> str: ...


class SecretUnusable(ValueError):
    """A password isn't to be had: one line with key, place and reason, and nothing of what was found there."""


def passwords(zones: Mapping[str, Zone], kind: Kind = "auth") -> dict[str, str]:
    """Of each zone that logs in, to its next hop ("auth") or its proxy ("egress"), by its name in lower case. Raises
    SecretUnusable."""
    return {name.lower(): _password(name, zone, kind) for name, zone in zones.items() if getattr(zone, f"{kind}_user")}


def secrets(path: Path, section: Signing) -> tuple[bytes, ...]:
    """What is signed with for the section at `path`, the first; and what is believed, all of them. None where nothing
    is named. Raises SecretUnusable."""
    if section.secret_file:
        place = f"{dotted((*path, 'secret_file'))}: {section.secret_file}"
        try:
            with open(section.secret_file, "rb") as file:
                found = file.read(_MOST * (_LONGEST + 2) + 1)
        except OSError as error:
            raise SecretUnusable(f"{place}: it can't be read: {error.strerror}") from None
    elif section.secret_variable:
        place = f"{dotted((*path, 'secret_variable'))}: {section.secret_variable}"
        found = os.environb.get(section.secret_variable.encode(), b"")
    else:
        return ()
    lines = tuple(line for line in map(bytes.strip, found.splitlines()) if line)
    if not lines or len(lines) > _MOST or not all(_SHORTEST <= len(one) <= _LONGEST for one in lines):
        expected = f"expected 1 to {_MOST} secrets of {_SHORTEST} to {_LONGEST} bytes, each on a line"
        raise SecretUnusable(f"{place}: {expected}")
    return lines


def open_to_all(path: str) -> bool:
    """Whether everybody on this machine can read a file."""
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def password(path: Path, key: str, file: str, variable: str, longest: int = 1024) -> str:
    """What the section at `path` names by `key`_file or `key`_variable, the one that isn't empty; `longest` in bytes.
    Raises SecretUnusable."""
    if file:
        place = f"{dotted((*path, f'{key}_file'))}: {file}"
        try:
            with open(file, "rb") as opened:
                found = opened.read(longest + 3).partition(b"\n")[0].removesuffix(b"\r")
        except OSError as error:
            raise SecretUnusable(f"{place}: it can't be read: {error.strerror}") from None
    else:
        place = f"{dotted((*path, f'{key}_variable'))}: {variable}"
        found = os.environb.get(variable.encode(), b"")
    try:
        said = found.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretUnusable(f"{place}: expected a password in UTF-8") from None
    if not said:
        raise SecretUnusable(f"{place}: expected a password, got nothing")
    if len(found) > longest or not said.isprintable():
        raise SecretUnusable(f"{place}: expected a password of {longest} bytes at most, without control characters")
    return said


def _password(name: str, zone: Zone, kind: Kind) -> str:
    key = f"{kind}_password"
    file, variable = getattr(zone, f"{key}_file"), getattr(zone, f"{key}_variable")
    return password(("zones", name), key, file, variable, LONGEST[kind])
