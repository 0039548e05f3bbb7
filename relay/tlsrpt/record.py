"""The record by which a domain asks for reports: TXT at `_smtp._tls.DOMAIN` (RFC 8460 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from relay.config.names import is_host
from relay.message.address import Address, parse

#: Destinations of one domain that get its report.
MOST = 5
#: Longest record that is read, and longest URI in it (characters).
LONGEST, LONGEST_URI = 4096, 1000

_VERSION = re.compile(r"v=TLSRPTv1[ \t]*;")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=(.*)", re.DOTALL)
_EXTENSION = re.compile(r"[!-:<>-~]+")
#: RFC 3986, without what has to be encoded here: "!", "," and ";".
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+=-]|%[0-9A-Fa-f]{2})*")


class Mailbox(NamedTuple):
    """A destination by mail."""

    uri: str
    address: Address

    @property
    def place(self) -> str:
        """Who is burdened by what goes there: the mailbox, whatever stands behind a plus."""
        return f"{self.address.local.partition('+')[0]}@{self.address.domain}".lower()


class Url(NamedTuple):
    """A destination by HTTPS. `host` is a name or an IP address without brackets, `target` what is asked of it."""

    uri: str
    host: str
    port: int
    target: str

    @property
    def place(self) -> str:
        """Who is burdened by what goes there."""
        return self.host


Destination = Mailbox | Url


def record_of(texts: Iterable[str]) -> tuple[Destination, ...]:
    """Where the domain with these TXT records wants its reports, MOST at most, each once, however it is written; none:
    it doesn't, or not in words that can be understood. Schemes that nobody knows are passed over."""
    found = [text for text in texts if _VERSION.match(text)]
    if len(found) != 1 or len(found[0]) > LONGEST:
        return ()
    try:
        uris = list(_uris(found[0]))
    except ValueError:
        return ()
    destinations: dict[object, Destination] = {}
    for destination in map(destination_of, uris):
        if isinstance(destination, Mailbox):
            destinations.setdefault(destination.address.key, destination)
        elif destination is not None:
            destinations.setdefault((destination.host, destination.port, destination.target), destination)
    return tuple(destinations.values())[:MOST]


def destination_of(uri: str) -> Destination | None:
    """What a URI of a record leads to; None: nowhere that a report can go."""
    if len(uri) > LONGEST_URI or not _URI.fullmatch(uri):
        return None
    scheme = uri.partition(":")[0].lower()
    try:
        if scheme == "mailto":
            return _mailbox(uri)
        return _url(uri) if scheme == "https" else None
    except ValueError:
        return None


def _uris(record: str) -> Iterator[str]:
    """All that `rua` names. Raises ValueError for a record that breaks the grammar."""
    fields = [field.strip(" \t") for field in record.split(";")]
    if not fields[-1]:
        fields.pop()
    for field in fields[1:]:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise ValueError("no field")
        name, value = match.groups()
        if name != "rua":
            if not _EXTENSION.fullmatch(value):
                raise ValueError("no value")
            continue
        for uri in value.split(","):
            uri = uri.strip(" \t")
            if not _URI.fullmatch(uri):
                raise ValueError("no URI")
            yield uri


def _mailbox(uri: str) -> Mailbox:
    """RFC 6068 2, of which one address is of use here; a subject or body is passed over. Raises ValueError."""
    return Mailbox(uri, parse(unquote(uri.partition(":")[2].partition("?")[0], errors="strict")))


def _url(uri: str) -> Url:
    """Raises ValueError."""
    parts = urlsplit(uri)
    host, port = parts.hostname or "", parts.port
    if "@" in parts.netloc or parts.fragment or port == 0:
        raise ValueError("no URL to post to")
    if parts.netloc.startswith("["):
        host = str(ip_address(host))
    elif not is_host(host) or host.endswith("."):
        raise ValueError("no host")
    return Url(uri, host, port or 443, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
