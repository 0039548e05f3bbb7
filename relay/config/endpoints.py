"""The endpoint strings of the file, read without binding anything.

Twisted says what is a valid endpoint; what it does not tell are the port, the interface and
the file, and those decide whether two endpoints collide and who can reach them.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from twisted.internet.endpoints import serverFromString

#: Taken from the environment or from files at start-up, so that only the start can tell.
_LATE = ("systemd", "ssl", "tls", "txtorcon", "onion")


#: Connections that the system may have made and nobody has looked at yet, where an endpoint doesn't say it.
BACKLOG = 1024
#: How many words may follow the kind before the one that is the backlog.
_BEFORE_BACKLOG = {"tcp": 2, "tcp6": 1, "unix": 2}


class Endpoint(NamedTuple):
    """What an endpoint string says: its kind, for TCP where it listens ("" = everywhere), and for UNIX
    the path of its socket ("" = it has none in the file system)."""

    kind: str
    port: int = 0
    interface: str = ""
    path: str = ""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it, as far as the string tells."""
        if self.kind == "unix" or self.interface == "localhost":
            return True
        return bool(self.interface) and ipaddress.ip_address(self.interface).is_loopback


def read(text: str) -> Endpoint:
    """The endpoint that `text` describes; ValueError says what is wrong with it."""
    words = _split(text)
    kind = words[0].lower()
    if kind not in _LATE:
        try:
            serverFromString(object(), text)  # keeps the reactor, no more
        except Exception as error:  # parsers are plugins and raise what they like
            raise ValueError(f"not an endpoint ({error})") from error
    named, placed = _arguments(words)
    if kind == "unix":
        path = named.get("address", placed[0] if placed else "")
        return Endpoint(kind, path="" if path.startswith("\0") else path)
    if kind not in ("tcp", "tcp6", "ssl"):
        return Endpoint(kind)
    port = named.get("port", placed[0] if placed else "")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("its port is not a number from 0 to 65535")
    interface = named.get("interface", placed[1] if kind == "tcp" and len(placed) > 1 else "")
    if interface not in ("", "localhost"):
        try:
            ipaddress.ip_address(interface)
        except ValueError:
            raise ValueError("its interface is not an IP address") from None
    return Endpoint(kind, int(port), interface)


def complete(text: str) -> str:
    """The same endpoint, with what it doesn't say and Twisted would do otherwise.

    A backlog: Twisted's own is 50, and the system lets whoever comes above it wait for a second and
    more. No lock of Twisted's for a UNIX socket: it is a link that names a process, and a later
    process may have that number; relay.net.listening has a better one.
    """
    words = _split(text)
    kind = words[0].lower()
    named, placed = _arguments(words)
    before = _BEFORE_BACKLOG.get(kind)
    if before is None:
        return text
    if "backlog" not in named and len(placed) <= before:
        text += f":backlog={BACKLOG}"
    if kind == "unix" and "lockfile" not in named and len(placed) < 4:
        text += ":lockfile=0"
    return text


def _arguments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Those with a name and those without."""
    named = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    return named, [word for word in words[1:] if "=" not in word]


def _split(text: str) -> list[str]:
    """The words between colons; a backslash takes the next character as it is."""
    words = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            words[-1] += next(characters, "")
        elif character == ":":
            words.append("")
        else:
            words[-1] += character
    return words
