"""URLs of the file that something is asked of or sent to over HTTP, read without asking anybody."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from relay.config.names import is_address, is_host

_PORTS = {"http": 80, "https": 443}
_visible = re.compile("[!-~]+").fullmatch
#: Longest one (characters): it goes out in one line.
_LONGEST = 2000


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """Where it leads. `target` is what a request asks for: path and query; `login` the value of Authorization, b"" for
    none (RFC 7617). Neither is to be shown: both may hold what only the two of us know."""

    secure: bool
    host: str
    port: int
    path: str
    target: bytes
    login: bytes

    @property
    def authority(self) -> str:
        """Host and port as the Host field has them: the port where it isn't the usual one (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self._scheme] else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.secure else "http"

    def __str__(self) -> str:
        """As it may be shown."""
        return f"{self._scheme}://{self.authority}{self.path}"

    def __repr__(self) -> str:
        return f"<{self}>"


def read(text: str) -> Url:
    """The URL that `text` is. Raises ValueError, whose words don't repeat it."""
    if not _visible(text) or len(text) > _LONGEST:
        raise ValueError("it is no URL in ASCII without blanks")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("host or port can't be made out") from None
    if parts.scheme not in _PORTS:
        raise ValueError("it begins neither with http:// nor with https://")
    host = parts.hostname or ""
    if not (is_address(host) or is_host(host)) or "[" in parts.netloc.rpartition("@")[0]:
        raise ValueError("it names no host")
    if port == 0:
        raise ValueError("port 0 is none")
    if "#" in text:
        raise ValueError("what is behind # is never sent")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(
        parts.scheme == "https", host, port or _PORTS[parts.scheme], parts.path or "/", target.encode("ascii"),
        _login(parts.netloc),
    )  # fmt: skip


def _login(netloc: str) -> bytes:
    user, at, _ = netloc.rpartition("@")
    if not at:
        return b""
    name, _, password = user.partition(":")
    secret = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    if b":" in unquote_to_bytes(name) or not secret.decode("utf-8", "replace").isprintable():
        raise ValueError("its user can't log in: a colon in the name, or what isn't printable")
    return b"Basic " + base64.b64encode(secret)
