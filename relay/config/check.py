"""What the keys of a configuration must be to one another: the checks no single type can make."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from relay.config import (
    check_api,
    check_auth,
    check_bounces,
    check_dane,
    check_dkim,
    check_names,
    check_returns,
    check_sinks,
    check_sites,
    check_tls_reports,
    check_zones,
    endpoints,
)
from relay.config.lines import Path
from relay.config.names import is_address, is_host, is_loopback
from relay.config.plain import shown
from relay.config.schema import Config, Listener
from relay.config.shape import Problem

#: Endpoints whose socket receivers can be given; what others wrap round it would be lost.
_SHARED = ("tcp", "tcp6", "unix", "systemd")
#: A network that takes in more addresses than this is the Internet, not a list of clients.
_WIDEST = {4: 8, 6: 16}
#: Who is believed to speak for others, by the key that names them.
_TRUSTED = {"proxy_networks": "a balancer", "xclient_networks": "a trusted relay"}
#: Mail waits for a policy host that hangs, and a minute is what RFC 8461 3.3 has for it (seconds).
_LONGEST_STS = 60.0
#: One message may hold a header of 2 MiB and five pieces of body, and it is not to be the only one.
_LEAST_MEMORY = 8 * 1024 * 1024


def problems(config: Config) -> Iterator[Problem]:
    """All that contradicts itself or could not work, in the order of the file."""
    yield from _identity(config)
    if not config.queue.path:
        yield Problem(("queue", "path"), 'expected a directory, got ""')
    if not config.queue.retry:
        yield Problem(("queue", "retry"), "expected at least one step, got an empty list")
    for name, listener in config.listeners.items():
        yield from _listener(("listeners", name), listener)
        yield from _tls(("listeners", name), listener)
        yield from _trusted(("listeners", name), listener)
    yield from _access(config)
    yield from _endpoints(config)
    yield from check_api.problems(config)
    if config.channel.lease <= config.channel.heartbeat:
        yield Problem(("channel", "lease"), "expected a longer time than channel.heartbeat")
    for index, server in enumerate(config.dns.nameservers):
        if not _is_nameserver(server):
            yield Problem(
                ("dns", "nameservers", f"[{index}]"),
                f'expected an address such as "127.0.0.1", "127.0.0.1:53" or "[::1]:53", got {shown(server)}',
            )
    yield from check_zones.problems(config)
    yield from check_sites.problems(config)
    for key in ("unreachable", "pauses"):
        if not getattr(config.backoff, key):
            yield Problem(("backoff", key), "expected at least one pause, got an empty list")
    if config.timeouts.sts > _LONGEST_STS:
        yield Problem(("timeouts", "sts"), f'expected "1m" at most, got {config.timeouts.sts:g} s')
    for name, plan in config.warmups.items():
        if not plan.days:
            yield Problem(("warmups", name, "days"), "expected at least one day, got an empty list: nothing is limited")
    yield from check_returns.problems(config)
    yield from check_bounces.problems(config)
    yield from check_sinks.problems(config)
    if config.suppression.bounces != "off" and not config.events.keep:
        place = ("suppression", "bounces")
        yield Problem(place, 'expected "off", for events.keep is 0: nobody would be told of a bounce')
    yield from check_tls_reports.problems(config)
    yield from check_dkim.problems(config)
    yield from check_names.problems(config)


def warnings(config: Config) -> Iterator[Problem]:
    """What may be meant, but is seldom."""
    if not config.queue.sync:
        yield Problem(("queue", "sync"), "off: a power cut loses mail that was acknowledged")
    if "." not in config.hostname:
        yield Problem(("hostname",), f"{shown(config.hostname)} is no full name; many hosts refuse that HELO")
    if not endpoints.read(config.channel.endpoint).local:
        yield Problem(("channel", "endpoint"), "reachable from outside this machine; only children use it")
    for name, listener in config.listeners.items():
        if not listener.allow_networks and not listener.auth:
            yield Problem(("listeners", name, "allow_networks"), "empty: nobody can submit mail here")
        yield from _tls_for_nothing(("listeners", name), listener)
        yield from _trusted_strangers(("listeners", name), listener)
        if listener.open_relay:
            yield Problem(("listeners", name, "open_relay"), "strangers in these networks can send mail to anywhere")
        if listener.auth and listener.insecure_auth and not endpoints.read(listener.endpoint).local:
            yield Problem(("listeners", name, "insecure_auth"), "passwords can be read on the way")
        if not listener.auth and not listener.returns:
            for text in listener.allow_networks:
                if not ipaddress.ip_network(text, strict=False).is_private:
                    place = ("listeners", name, "allow_networks")
                    yield Problem(place, f"{text} is not private: whoever is there sends without a login")
    yield from check_dane.warnings(config)
    if config.access.demo:
        yield Problem(("access", "demo"), "on: anybody knows this name and password")
    if config.access.url.startswith("http:") and not is_loopback(_asked_host(config.access.url) or ""):
        yield Problem(("access", "url"), "http to another machine: passwords can be read on the way")
    yield from check_sinks.warnings(config)
    yield from check_auth.warnings(config)
    yield from check_api.warnings(config)
    yield from check_returns.warnings(config)
    for name, zone in config.zones.items():
        if zone.disabled and name.lower() == "default":
            yield Problem(("zones", name, "disabled"), "mail that no other zone claims waits for ever")


def _identity(config: Config) -> Iterator[Problem]:
    if not is_host(config.hostname):
        yield Problem(("hostname",), f"expected a host name, got {shown(config.hostname)}")
    if not config.name.isascii() or not config.name.strip():
        yield Problem(("name",), f"expected printable ASCII, got {shown(config.name)}")


def _listener(path: Path, listener: Listener) -> Iterator[Problem]:
    try:
        local = endpoints.read(listener.endpoint).local
    except ValueError:
        local = True  # said where all endpoints are looked at
    else:
        if listener.processes and endpoints.read(listener.endpoint).kind not in _SHARED:
            expected = f"expected 0 with the endpoint {shown(listener.endpoint)}: receivers can share"
            yield Problem((*path, "processes"), f"{expected} {', '.join(_SHARED[:-1])} and {_SHARED[-1]} endpoints")
    if 0 < listener.max_memory < _LEAST_MEMORY:
        yield Problem((*path, "max_memory"), "expected 8MB or more, or 0 for no bound")
    for index, text in enumerate(listener.allow_networks):
        place = (*path, "allow_networks", f"[{index}]")
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield Problem(place, f'expected a network such as "10.0.0.0/8", got {shown(text)}')
            continue
        if network.network_address != ipaddress.ip_interface(text).ip:
            yield Problem(place, f'expected a network, got an address in one; did you mean "{network}"?')
        wide = network.prefixlen < _WIDEST[network.version]
        if wide and not (local or listener.auth or listener.open_relay or listener.returns):
            yield Problem(
                place,
                f"{network} on {shown(listener.endpoint)} without auth is an open relay; "
                "expected the networks of your own clients, or open_relay = true beside it",
            )


def _tls(path: Path, listener: Listener) -> Iterator[Problem]:
    if listener.tls != "off" and not listener.certificate:
        yield Problem((*path, "certificate"), f'expected the file of a certificate, for tls is "{listener.tls}"')
    if listener.require_tls and listener.tls == "off":
        yield Problem((*path, "require_tls"), 'on, but tls is "off": nobody could submit mail')
    if listener.require_tls and listener.tls == "starttls" and "STARTTLS" in listener.without:
        yield Problem((*path, "require_tls"), 'on, but STARTTLS is in "without": nobody could submit mail')


def _tls_for_nothing(path: Path, listener: Listener) -> Iterator[Problem]:
    for key in ("certificate", "key", "certificates", "client_ca"):
        if listener.tls == "off" and getattr(listener, key):
            yield Problem((*path, key), 'not used, for tls is "off"')


def _trusted(path: Path, listener: Listener) -> Iterator[Problem]:
    """Networks of those who may say for whom they speak. Were these everybody, anybody could be anybody."""
    for key, who in _TRUSTED.items():
        for index, text in enumerate(getattr(listener, key)):
            place = (*path, key, f"[{index}]")
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                expected = f'expected the address or network of {who}, such as "10.0.0.5"'
                yield Problem(place, f"{expected}, got {shown(text)}")
                continue
            if network.prefixlen < _WIDEST[network.version]:
                yield Problem(place, f"expected the addresses of {who}, got {network}: from there anybody is believed")


def _trusted_strangers(path: Path, listener: Listener) -> Iterator[Problem]:
    for key in _TRUSTED:
        for text in getattr(listener, key):
            network = ipaddress.ip_network(text, strict=False)
            if network.num_addresses > 1 and not network.is_private:
                yield Problem((*path, key), f"{text} is not private: whoever is there may say to be anybody")


def _access(config: Config) -> Iterator[Problem]:
    access = config.access
    for kind in ("messages", "recipients"):
        for index, text in enumerate(getattr(access, kind)):
            if not re.fullmatch(r"[0-9]*[1-9][0-9]*/[mhd]", text):
                place = ("access", kind, f"[{index}]")
                yield Problem(place, f'expected a limit such as "60/m", "1000/h" or "10000/d", got {shown(text)}')
    if access.url and _asked_host(access.url) is None:
        expected = 'expected a URL such as "https://users.example.com/login"'
        yield Problem(("access", "url"), f"{expected}, got {shown(access.url)}")
    for name, listener in config.listeners.items():
        path = ("listeners", name)
        if not listener.auth:
            continue
        # Whoever has an API key needs one of these two.
        if not (access.users or access.url) and not {"PLAIN", "LOGIN"}.intersection(listener.mechanisms):
            yield Problem((*path, "auth"), "nobody could log in: expected access.users or access.url beside it")
        if listener.tls == "off" and not listener.insecure_auth:
            yield Problem((*path, "auth"), "nobody could log in without TLS: expected tls, or insecure_auth = true")
        if "AUTH" in listener.without:
            yield Problem((*path, "without"), '"AUTH" is needed where auth is on')


def _asked_host(url: str) -> str | None:
    """The host of a URL that logins can be asked at; None when it is none. It names no user: each one is asked for."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    return (parts.hostname or None) if fits and re.fullmatch("[!-~]+", url) else None


def _endpoints(config: Config) -> Iterator[Problem]:
    """Each endpoint can be read, and no two are the same port."""
    stated: list[tuple[Path, str]] = [
        (("listeners", name, "endpoint"), listener.endpoint) for name, listener in config.listeners.items()
    ]
    stated += [(("api", "endpoint"), config.api.endpoint), (("channel", "endpoint"), config.channel.endpoint)]
    taken: dict[tuple[object, str], Path] = {}
    for path, text in stated:
        try:
            endpoint = endpoints.read(text)
        except ValueError as error:
            expected = 'expected an endpoint such as "tcp:2525:interface=127.0.0.1"'
            yield Problem(path, f"{expected}, got {shown(text)}: {error}")
            continue
        if path[0] == "channel" and endpoint.kind not in ("tcp", "tcp6"):
            expected = 'expected a TCP endpoint such as "tcp:8081:interface=127.0.0.1"'
            yield Problem(path, f"{expected} (children connect to its host and port), got {shown(text)}")
        place = (endpoint.port or endpoint.path, endpoint.interface)
        if place[0] and place in taken:
            other = ".".join(taken[place])
            what = "port" if endpoint.port else "path"
            yield Problem(path, f"expected a {what} of its own, got {shown(text)}, which {other} has")
        taken.setdefault(place, path)


def _is_nameserver(text: str) -> bool:
    if is_address(text):
        return True
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return False
    return is_address(host) and port.isascii() and port.isdigit() and 0 < int(port) <= 65535
