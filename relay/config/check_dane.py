"""What DANE and the trust in name servers must be to one another."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.lines import Path
from relay.config.names import is_loopback
from relay.config.plain import shown
from relay.config.schema import Config
from relay.config.shape import Problem


def problems(config: Config) -> Iterator[Problem]:
    """Where DANE is asked for and could not be."""
    asked: list[Path] = []
    for name, zone in config.zones.items():
        if zone.tls == "dane":
            asked.append(("zones", name, "tls"))
            if zone.host or zone.url:
                text = 'expected "none", "may", "must" or "verify" for a fixed next hop, got "dane"'
                yield Problem(asked[-1], text)
            if not zone.dane:
                yield Problem(("zones", name, "dane"), 'expected true, for tls is "dane"')
    by_zone = bool(asked)
    for name, domain in config.domains.items():
        if domain.tls == "dane":
            asked.append(("domains", name, "tls"))
        if domain.dane == "off" and (domain.tls == "dane" or (domain.tls == "zone" and by_zone)):
            yield Problem(("domains", name, "dane"), 'expected another tls beside "off", for that is "dane"')
    if not config.dns.dnssec:
        for path in asked:
            yield Problem(path, 'expected dns.dnssec = true beside "dane"')


def warnings(config: Config) -> Iterator[Problem]:
    """Name servers that are believed though others may speak for them."""
    if not config.dns.dnssec:
        return
    if not config.dns.nameservers:
        text = "on: whatever servers /etc/resolv.conf names are believed; name those that validate in nameservers"
        yield Problem(("dns", "dnssec"), text)
    for index, server in enumerate(config.dns.nameservers):
        bare = server.rpartition(":")[0] if server.count(":") == 1 else server.partition("]")[0].removeprefix("[")
        if not is_loopback(bare):
            text = f"{shown(server)} is not this machine: whoever stands between can say what is validated"
            yield Problem(("dns", "nameservers", f"[{index}]"), text)
