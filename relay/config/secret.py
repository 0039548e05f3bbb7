"""Secrets that a configuration names and doesn't hold: a password in a file, or in the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from relay.config.load import dotted
from relay.config.schema import Zone

#: Longest password (bytes).
LONGEST = 1024


class SecretUnusable(ValueError):
    """A password isn't to be had: one line with key, place and reason, and nothing of what was found there."""


def passwords(zones: Mapping[str, Zone]) -> dict[str, str]:
    """Of each zone that logs in to its next hop, by its name in lower case. Raises SecretUnusable."""
    return {name.lower(): _password(name, zone) for name, zone in zones.items() if zone.auth_user}


def open_to_all(path: str) -> bool:
    """Whether everybody on this machine can read a file."""
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def _password(name: str, zone: Zone) -> str:
    if zone.auth_password_file:
        place = f"{dotted(('zones', name, 'auth_password_file'))}: {zone.auth_password_file}"
        try:
            with open(zone.auth_password_file, "rb") as file:
                found = file.read(LONGEST + 3).partition(b"\n")[0].removesuffix(b"\r")
        except OSError as error:
            raise SecretUnusable(f"{place}: it can't be read: {error.strerror}") from None
    else:
        place = f"{dotted(('zones', name, 'auth_password_variable'))}: {zone.auth_password_variable}"
        found = os.environb.get(zone.auth_password_variable.encode(), b"")
    try:
        password = found.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretUnusable(f"{place}: expected a password in UTF-8") from None
    if not password:
        raise SecretUnusable(f"{place}: expected a password, got nothing")
    if len(found) > LONGEST or not password.isprintable():
        raise SecretUnusable(f"{place}: expected a password of {LONGEST} bytes at most, without control characters")
    return password
