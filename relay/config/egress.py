"""The proxy that a zone's connections leave by, and the login for it, as the file names them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from relay.config.names import is_address
from relay.config.schema import Zone

Kind = Literal["socks5", "haproxy", "haproxy1"]

_KINDS: dict[str, Kind] = {"socks5": "socks5", "haproxy": "haproxy", "haproxy1": "haproxy1"}
#: Longest name and password of a login (bytes; RFC 1929 2).
LONGEST = 255
#: A login that stands in an environment variable begins with this.
_VARIABLE = "env:"


class Egress(NamedTuple):
    """A proxy: SOCKS5, or one that is told by a PROXY header of version 2 (`haproxy`) or 1 (`haproxy1`)."""

    kind: Kind
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"

    @property
    def states_source(self) -> bool:
        """Whether it is told which address to connect from."""
        return self.kind != "socks5"


class Login(NamedTuple):
    """Who we are to a proxy; not to be shown."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return "<login>"


def read(text: str) -> Egress:
    """The proxy that `text` names. Raises ValueError, whose words don't repeat it: there may be a password in it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("address or port can't be made out") from None
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise ValueError(f"it begins with none of {', '.join(f'{name}://' for name in _KINDS)}")
    if "@" in parts.netloc:
        raise ValueError("a login stands in the file that egress_login names")
    if not is_address(host):
        raise ValueError("the proxy is named by its IP address")
    if not port:
        raise ValueError("it has no port")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("there is something behind the port")
    return Egress(kind, host, port)


def login(text: str) -> Login:
    """The login at `text`: the first line of that file, or of the environment variable behind `env:`, as
    `name:password`. Raises ValueError, whose words don't repeat it."""
    if text.startswith(_VARIABLE):
        found = os.environb.get(text.removeprefix(_VARIABLE).encode())
        if found is None:
            raise ValueError("there is no such environment variable")
    else:
        try:
            with open(text, "rb") as file:
                found = file.read(4 * LONGEST)
        except OSError as error:
            raise ValueError(f"it can't be read: {error.strerror}") from None
    line = found.partition(b"\n")[0].rstrip(b"\r")
    name, colon, password = line.partition(b":")
    if not colon:
        raise ValueError("it has no line name:password")
    if not 1 <= len(name) <= LONGEST or not 1 <= len(password) <= LONGEST:
        raise ValueError(f"name and password are 1 to {LONGEST} bytes each")
    return Login(name, password)


def unreadable(zones: Mapping[str, Zone]) -> Iterator[str]:
    """A line for each zone whose login can't be had: key, place and reason."""
    for name, zone in zones.items():
        if zone.egress_login and not zone.disabled:
            try:
                login(zone.egress_login)
            except ValueError as error:
                yield f"zones.{name}.egress_login: {zone.egress_login}: {error}"
