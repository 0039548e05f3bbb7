"""What pools, zones and recipient domains must be to one another."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import date

from relay.config import check_auth, check_dane, check_egress, units, urls
from relay.config.lines import Path
from relay.config.names import is_address, is_host
from relay.config.plain import meant, shown
from relay.config.schema import Config, PoolAddress, Zone
from relay.config.shape import Problem

_SMTP = 25
#: Longest path of a socket (bytes; unix(7)).
_MAX_PATH = 107


def problems(config: Config) -> Iterator[Problem]:
    """All that contradicts itself or could not work, in the order of the file."""
    for name, pool in config.pools.items():
        if not pool:
            yield Problem(("pools", name), "expected at least one address, got an empty list")
        for index, entry in enumerate(pool):
            yield from _entry(("pools", name, f"[{index}]"), entry, config)
        yield from _ratios(("pools", name), pool)
    for name, zone in config.zones.items():
        yield from _zone(("zones", name), zone, config)
    if "default" not in map(str.lower, config.zones) and "default" not in config.pools:
        yield Problem(("pools",), 'expected a pool "default": the default zone is always there and uses it')
    for name, domain in config.domains.items():
        yield from _addresses(("domains", name, "disabled_addresses"), domain.disabled_addresses)
        if domain.tls == "sts" and domain.sts == "off":
            yield Problem(("domains", name, "sts"), 'expected "on" or "zone", for tls is "sts"')
    yield from check_dane.problems(config)


def _entry(path: Path, entry: PoolAddress, config: Config) -> Iterator[Problem]:
    if not is_address(entry.address):
        yield Problem((*path, "address"), f"expected an IP address, got {shown(entry.address)}")
    if entry.name and not is_host(entry.name):
        yield Problem((*path, "name"), f"expected a host name, got {shown(entry.name)}")
    if -1 < entry.ratio < 0:
        yield Problem((*path, "ratio"), f"expected a number from 0 to 1, or -1 for none, got {shown(entry.ratio)}")
    if entry.warmup and entry.warmup not in config.warmups:
        text = f"expected the name of a plan in warmups ({', '.join(config.warmups)}), got {shown(entry.warmup)}"
        yield Problem((*path, "warmup"), text + meant(entry.warmup, config.warmups))
    since = 'expected the first day, such as "2026-12-01"'
    if entry.warmup_since:
        if not _is_day(entry.warmup_since):
            yield Problem((*path, "warmup_since"), f"{since}, got {shown(entry.warmup_since)}")
        if not entry.warmup:
            yield Problem((*path, "warmup"), "expected the name of a plan, for there is a warmup_since")
    elif entry.warmup:
        yield Problem((*path, "warmup_since"), f"{since}, for there is a warmup")


def _ratios(path: Path, pool: tuple[PoolAddress, ...]) -> Iterator[Problem]:
    """Hosts are reached over IPv4 from the IPv4 addresses alone, so each kind is a whole of its own."""
    if pool and all(entry.ratio == 0 for entry in pool):
        yield Problem(path, "every ratio is 0, so no address is ever used: expected one above 0, or without a ratio")
    for kind, ratios in (
        ("IPv4", [entry.ratio for entry in pool if ":" not in entry.address]),
        ("IPv6", [entry.ratio for entry in pool if ":" in entry.address]),
    ):
        stated = sum(ratio for ratio in ratios if ratio > 0)
        if ratios.count(1) > 1:
            yield Problem(path, f"expected one {kind} address with the ratio 1 (only this one), got {ratios.count(1)}")
        elif 1 not in ratios and stated >= 1 and -1 in ratios:
            text = f"expected ratios of its {kind} addresses that leave something for those without one"
            yield Problem(path, f"{text}, got {stated:g} together")


def _zone(path: Path, zone: Zone, config: Config) -> Iterator[Problem]:
    if zone.pool not in config.pools:
        text = f"expected the name of a pool ({', '.join(config.pools)}), got {shown(zone.pool)}"
        yield Problem((*path, "pool"), text + meant(zone.pool, config.pools))
    is_path = zone.lmtp and zone.host[:1] == "/"
    if zone.host and not is_path and not is_host(zone.host) and not is_address(zone.host):
        or_path = " or, with lmtp, the path of a socket" if zone.host[:1] == "/" else ""
        yield Problem((*path, "host"), f"expected a host name or IP address{or_path}, got {shown(zone.host)}")
    if is_path:
        yield from _socket(path, zone)
    elif zone.lmtp and zone.host and zone.port == _SMTP:
        yield Problem((*path, "port"), "expected the port of an LMTP server, such as 24: on 25 is SMTP (RFC 2033 5)")
    elif zone.lmtp and not zone.host and not zone.url:
        yield Problem((*path, "host"), "expected the host that LMTP is spoken to, got none: mail exchangers speak SMTP")
    if zone.tls == "sts" and (zone.host or zone.url):
        text = 'expected another, got "sts": MTA-STS is of domains, and there is a fixed next hop'
        yield Problem((*path, "tls"), text)
    if zone.tls == "sts" and not zone.sts:
        yield Problem((*path, "sts"), 'expected true, for tls is "sts"')
    yield from _url(path, zone)
    yield from check_egress.problems(path, zone, config)
    yield from check_auth.problems(path, zone)
    yield from _addresses((*path, "addresses"), zone.addresses)
    if zone.throttling:
        try:
            units.rate(zone.throttling)
        except units.UnitError as error:
            yield Problem((*path, "throttling"), f"expected {error}, got {shown(zone.throttling)}")
    for key in ("sender_domains", "recipient_domains", "block_domains"):
        for index, text in enumerate(getattr(zone, key)):
            literal = key != "block_domains" and text[:1] == "[" and text[-1:] == "]"
            if not literal and not is_host(text):
                yield Problem((*path, key, f"[{index}]"), f'expected a domain such as "example.com", got {shown(text)}')
    for header, values in zone.routing_headers.items():
        if not re.fullmatch("[!-9;-~]+", header.strip()):
            yield Problem((*path, "routing_headers", header), f"expected the name of a header, got {shown(header)}")
        if not values:
            yield Problem((*path, "routing_headers", header), "expected at least one value, got an empty list")
    for index, text in enumerate(zone.client_networks):
        yield from _network((*path, "client_networks", f"[{index}]"), text)


def _socket(path: Path, zone: Zone) -> Iterator[Problem]:
    """A next hop on this machine, by its path."""
    if len(zone.host.encode()) > _MAX_PATH or not zone.host.isprintable():
        text = f"expected the path of a socket, {_MAX_PATH} bytes at most, got {shown(zone.host)}"
        yield Problem((*path, "host"), text)
    if zone.implicit_tls:
        yield Problem((*path, "implicit_tls"), "expected false: a socket on this machine has no port for TLS")


def _url(path: Path, zone: Zone) -> Iterator[Problem]:
    """Mail goes to one place, in one way. What is in a URL isn't repeated: there may be a password in it."""
    if not zone.url:
        return
    try:
        url = urls.read(zone.url)
    except ValueError as error:
        expected = 'expected a URL such as "https://mail.example.com/incoming"'
        yield Problem((*path, "url"), f"{expected}: {error}")
        return
    if zone.host:
        yield Problem((*path, "host"), "expected either host or url: mail goes to one of them")
    if zone.lmtp:
        yield Problem((*path, "lmtp"), "expected it where there is a host: to a url mail goes by HTTP")
    if zone.recipients_per_transaction > 1:
        yield Problem((*path, "recipients_per_transaction"), "expected 1: by HTTP each recipient's mail is a request")
    if zone.implicit_tls:
        yield Problem((*path, "implicit_tls"), "expected it where mail goes by SMTP; https:// in url says the same")
    if zone.tls in ("must", "verify") and not url.secure:
        yield Problem((*path, "url"), f'expected https://, for tls is "{zone.tls}"')


def _network(path: Path, text: str) -> Iterator[Problem]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield Problem(path, f'expected a network such as "10.0.0.0/8", got {shown(text)}')
        return
    if network.network_address != ipaddress.ip_interface(text).ip:
        yield Problem(path, f'expected a network, got an address in one; did you mean "{network}"?')


def _addresses(path: Path, addresses: tuple[str, ...]) -> Iterator[Problem]:
    for index, text in enumerate(addresses):
        if not is_address(text):
            yield Problem((*path, f"[{index}]"), f"expected an IP address, got {shown(text)}")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
