"""What a zone needs to log in to its next hop."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relay.config.lines import Path
from relay.config.plain import shown
from relay.config.schema import Config, Zone
from relay.config.shape import Problem

#: What is of no use without a user.
_REST = ("auth_password_file", "auth_password_variable", "insecure_auth")
_LONGEST_NAME = 255


def problems(path: Path, zone: Zone) -> Iterator[Problem]:
    """What is missing, or there in vain."""
    if not zone.auth_user:
        for key in _REST:
            if getattr(zone, key):
                yield Problem((*path, "auth_user"), f"expected a name to log in with, for there is {key}")
        return
    if len(zone.auth_user) > _LONGEST_NAME:
        text = f"expected a name of {_LONGEST_NAME} characters at most, got {shown(zone.auth_user)}"
        yield Problem((*path, "auth_user"), text)
    if not zone.host:
        yield Problem((*path, "host"), "expected a next hop, for there is an auth_user: strangers are told no password")
    if bool(zone.auth_password_file) == bool(zone.auth_password_variable):
        text = "expected either auth_password_file or auth_password_variable, for there is an auth_user"
        yield Problem((*path, "auth_user"), text)
    if zone.auth_password_variable and not is_variable(zone.auth_password_variable):
        # A password that was put here by mistake isn't shown.
        yield Problem((*path, "auth_password_variable"), "expected the name of an environment variable")
    if not zone.auth_mechanisms:
        yield Problem((*path, "auth_mechanisms"), "expected at least one way to log in, got an empty list")


def is_variable(name: str) -> bool:
    """Whether it can be the name of an environment variable."""
    return re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) is not None


def warnings(config: Config) -> Iterator[Problem]:
    """Whom a password may be told."""
    for name, zone in config.zones.items():
        if zone.auth_user and zone.insecure_auth:
            yield Problem(("zones", name, "insecure_auth"), "the password can be read on the way")
        elif zone.auth_user and zone.tls != "verify":
            text = f'expected "verify", for there is an auth_user: by {shown(zone.tls)} whoever answers gets it'
            yield Problem(("zones", name, "tls"), text)
