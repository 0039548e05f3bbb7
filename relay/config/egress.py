"""The proxy that a zone's connections leave by, as the file names it."""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from relay.config.names import is_address

Kind = Literal["socks5", "haproxy", "haproxy1"]

_KINDS: dict[str, Kind] = {"socks5": "socks5", "haproxy": "haproxy", "haproxy1": "haproxy1"}
#: Longest name and password of a login (bytes; RFC 1929 2).
LONGEST = 255


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
        raise ValueError("who logs in there stands in egress_user")
    if not is_address(host):
        raise ValueError("the proxy is named by its IP address")
    if not port:
        raise ValueError("it has no port")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("there is something behind the port")
    return Egress(kind, host, port)
