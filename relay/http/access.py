"""Which requests are not taken, whoever asks: those of web pages of others, and those under names that aren't ours.

A page anywhere can send requests to 127.0.0.1, and with a name it controls (DNS
rebinding) it can read the answers too. Both show in Host, Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

from relay.http.answer import Problem, refusal


def check_page(
    hosts: Sequence[bytes], origins: Sequence[bytes], sites: Sequence[bytes], *, schemes: Sequence[bytes]
) -> None:
    """Checks a request with these values of Host, Origin and Sec-Fetch-Site: none that comes from a page of others.
    `schemes` are those that our own pages may have, such as `http://`.

    Raises:
        Problem: 403.
    """
    ours = [scheme + host.lower() for scheme in schemes for host in hosts]
    if any(site not in (b"same-origin", b"none") for site in sites) or any(one.lower() not in ours for one in origins):
        raise _forbidden("Requests of other sites' pages are not taken")


def check_host(hosts: Sequence[bytes], names: frozenset[str]) -> None:
    """Checks a request that shows nothing but where it comes from. `names` are the host names (lower case) besides IP
    addresses under which the API may be addressed.

    Raises:
        Problem: 403.
    """
    if hosts and not _is_known(host_name(hosts[0]), names):
        raise _forbidden("Unknown Host")


def address_of(client: IAddress | None) -> str:
    """The IP address of a client. One that comes over a UNIX socket is on this machine."""
    return "127.0.0.1" if isinstance(client, UNIXAddress) else str(getattr(client, "host", ""))


def is_loopback(address: str) -> bool:
    """Whether `address` is an IP address of this machine's loopback."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def host_name(host: bytes) -> str:
    """The name or address in a Host header, lower-case, without port and brackets; "" when
    it is malformed (RFC 9110 7.2)."""
    text = host.decode("ascii", "replace").lower()
    name, bracket, port = text.rpartition("]")
    if bracket:
        name = name[1:] if name.startswith("[") else ""
        port = port[1:] if port.startswith(":") else port and "x"
    else:
        name, _, port = text.partition(":")
    return name if not port or (port.isdigit() and len(port) <= 5) else ""


def _is_known(name: str, names: frozenset[str]) -> bool:
    if name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _forbidden(message: str) -> Problem:
    return refusal(403, "Forbidden", message)
