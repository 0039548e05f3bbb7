"""Which name servers to ask: as the configuration writes them, or as the system has them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from relay.net.dns_exchange import Server

RESOLV_CONF = Path("/etc/resolv.conf")


def parse_server(text: str) -> Server:
    """`ip`, `ip:port` or `[ipv6]:port`. Raises ValueError."""
    address, port = text, "53"
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            raise ValueError(f"no address: {text!r}")
        port = rest[1:] or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"no port: {text!r}")
    return Server(str(ipaddress.ip_address(address)), int(port))


def system_servers(path: Path) -> list[str]:
    """The name servers of resolv.conf(5) that are addresses."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    servers: list[str] = []
    for words in map(str.split, lines):
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                parse_server(words[1])
            except ValueError:
                continue
            servers.append(words[1])
    return servers
