"""The endpoint strings of the file, read without binding anything.

Twisted says what is a valid endpoint; what it does not tell are the port and the
interface, and those decide whether two endpoints collide and who can reach them.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from twisted.internet.endpoints import serverFromString

#: Taken from the environment or from files at start-up, so that only the start can tell.
_LATE = ("systemd", "ssl", "tls", "txtorcon", "onion")


class Endpoint(NamedTuple):
    """What an endpoint string says: its kind, and for TCP where it listens ("" = everywhere)."""

    kind: str
    port: int = 0
    interface: str = ""

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
    if kind not in ("tcp", "tcp6", "ssl"):
        return Endpoint(kind)
    named = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    placed = [word for word in words[1:] if "=" not in word]
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
