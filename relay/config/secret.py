"""Secrets that a configuration names and doesn't hold: a password in a file, or in the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Literal

from relay.config.lines import Path
from relay.config.load import dotted
from relay.config.schema import Zone

#: What a login is for: the keys of a zone that are about it begin so.
Kind = Literal["auth", "egress"]
#: Longest password of each (bytes; RFC 1929 2).
LONGEST: Mapping[Kind, int] = {"auth": 1024, "egress": 255}
#: What a section may sign with, all together (bytes).
_LONGEST_KEYS = 4096


class SecretUnusable(ValueError):
    """A password isn't to be had: one line with key, place and reason, and nothing of what was found there."""


def passwords(zones: Mapping[str, Zone], kind: Kind = "auth") -> dict[str, str]:
    """Of each zone that logs in, to its next hop ("auth") or its proxy ("egress"), by its name in lower case. Raises
    SecretUnusable."""
    return {name.lower(): _password(name, zone, kind) for name, zone in zones.items() if getattr(zone, f"{kind}_user")}


def open_to_all(path: str) -> bool:
    """Whether everybody on this machine can read a file."""
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def keys(path: Path, file: str, variable: str) -> tuple[str, ...]:
    """What signs for the section at `path`: all secrets in its `secret_file` or `secret_variable`, blanks between
    them, the newest first; () where it has neither. Raises SecretUnusable."""
    key, name = ("secret_file", file) if file else ("secret_variable", variable)
    if not name:
        return ()
    place = f"{dotted((*path, key))}: {name}"
    found = _read(place, file, variable, _LONGEST_KEYS)
    try:
        secrets = tuple(found.decode("ascii").split())
    except UnicodeDecodeError:
        secrets = ()
    if not secrets or len(found) > _LONGEST_KEYS or not all(secret.isprintable() for secret in secrets):
        raise SecretUnusable(f"{place}: expected one secret or several, in ASCII, of {_LONGEST_KEYS} bytes at most")
    return secrets


def _read(place: str, file: str, variable: str, most: int) -> bytes:
    """What stands in the file, else in the variable; a little more than `most` bytes where there is more."""
    if not file:
        return os.environb.get(variable.encode(), b"")
    try:
        with open(file, "rb") as stream:
            return stream.read(most + 3)
    except OSError as error:
        raise SecretUnusable(f"{place}: it can't be read: {error.strerror}") from None


def _password(name: str, zone: Zone, kind: Kind) -> str:
    path: str = getattr(zone, f"{kind}_password_file")
    variable: str = getattr(zone, f"{kind}_password_variable")
    longest = LONGEST[kind]
    key = f"{kind}_password_file" if path else f"{kind}_password_variable"
    place = f"{dotted(('zones', name, key))}: {path or variable}"
    found = _read(place, path, variable, longest)
    if path:
        found = found.partition(b"\n")[0].removesuffix(b"\r")
    try:
        password = found.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretUnusable(f"{place}: expected a password in UTF-8") from None
    if not password:
        raise SecretUnusable(f"{place}: expected a password, got nothing")
    if len(found) > longest or not password.isprintable():
        raise SecretUnusable(f"{place}: expected a password of {longest} bytes at most, without control characters")
    return password
