"""What [returns] must say where mail comes back, and what zones and listeners that have to do with it may be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relay.config import urls
from relay.config.check_auth import is_variable
from relay.config.lines import Path
from relay.config.names import is_host
from relay.config.plain import shown
from relay.config.schema import Config, Listener, Zone
from relay.config.shape import Problem
from relay.message.address import parse

#: Longest domain: with it and a token an address is still one.
_LONGEST = 200
_DAY = 86400.0


def problems(config: Config) -> Iterator[Problem]:
    """All that is wrong with the section, and with what relies on it."""
    section = config.returns
    if section.domain and (not is_host(section.domain) or len(section.domain) > _LONGEST or "." not in section.domain):
        expected = 'expected a domain in ASCII (xn--...) such as "bounces.example.com"'
        yield Problem(("returns", "domain"), f"{expected}, got {shown(section.domain)}")
    named = [key for key in ("secret_file", "secret_variable") if getattr(section, key)]
    if section.domain and len(named) != 1:
        yield Problem(("returns", "secret_file"), "expected it or secret_variable, for there is a domain")
    if section.secret_variable and not is_variable(section.secret_variable):
        # A secret that was put here by mistake isn't shown.
        yield Problem(("returns", "secret_variable"), "expected the name of an environment variable")
    for index, text in enumerate(section.keep_domains):
        if not is_host(text):
            place = ("returns", "keep_domains", f"[{index}]")
            yield Problem(place, f'expected a domain such as "example.com", got {shown(text)}')
    if section.complaints and not _is_local(section.complaints):
        text = f'expected the part of an address before the @, such as "fbl", got {shown(section.complaints)}'
        yield Problem(("returns", "complaints"), text)
    if not 64 * 1024 <= section.max_size <= 64 * 1024 * 1024:
        yield Problem(("returns", "max_size"), 'expected "64KB" to "64MB"')
    if not _DAY <= section.srs_age <= 365 * _DAY:
        yield Problem(("returns", "srs_age"), 'expected "1d" to "365d"')
    yield from _url(section.unsubscribe_url)
    for name, zone in config.zones.items():
        yield from _zone(("zones", name), zone, config)
    for name, listener in config.listeners.items():
        yield from _listener(("listeners", name), listener, config)


def warnings(config: Config) -> Iterator[Problem]:
    """What may be meant, but is seldom."""
    taken = any(listener.returns for listener in config.listeners.values())
    for name, zone in config.zones.items():
        for key in ("return_path", "list_unsubscribe"):
            if getattr(zone, key) and not taken:
                yield Problem(("zones", name, key), "no listener has returns = true: nobody here takes what comes back")


def _url(text: str) -> Iterator[Problem]:
    """It stands in angle brackets in a list, and a token follows it."""
    if not text:
        return
    expected = 'expected a URL such as "https://mail.example.com/unsubscribe/"'
    try:
        urls.read(text)
    except ValueError as error:
        yield Problem(("returns", "unsubscribe_url"), f"{expected}: {error}")
        return
    if re.fullmatch(r"https://[A-Za-z0-9._:\[\]-]+/(?:[A-Za-z0-9._~%/-]*/)?", text) is None or len(text) > _LONGEST:
        yield Problem(("returns", "unsubscribe_url"), f"{expected}, which a token follows; got {shown(text)}")


def _zone(path: Path, zone: Zone, config: Config) -> Iterator[Problem]:
    for key in ("return_path", "list_unsubscribe"):
        if getattr(zone, key) and not config.returns.domain:
            yield Problem((*path, key), "expected a domain in [returns] beside it")
    if zone.return_path and zone.url:
        yield Problem((*path, "return_path"), 'expected "", for there is a url: by HTTP there is no return path')
    key = "return_path" if zone.return_path == "verp" else "list_unsubscribe" if zone.list_unsubscribe else ""
    if key and zone.recipients_per_transaction > 1:
        text = f"expected 1, for there is {key}: it is of one recipient"
        yield Problem((*path, "recipients_per_transaction"), text)


def _listener(path: Path, listener: Listener, config: Config) -> Iterator[Problem]:
    if not listener.returns:
        return
    if not config.returns.domain:
        yield Problem((*path, "returns"), "expected a domain in [returns] beside it")
    if not config.events.keep:
        yield Problem((*path, "returns"), "expected events.keep beside it, got 0: what comes back is told by events")
    for key in ("auth", "open_relay", "processes", "xclient_networks"):
        if getattr(listener, key):
            text = "not used where returns is true: what comes back strangers bring, to the master itself"
            yield Problem((*path, key), text)
    if listener.null_sender == "reject":
        yield Problem((*path, "null_sender"), 'expected another, got "reject": what comes back has the null sender')


def _is_local(text: str) -> bool:
    try:
        return parse(f"{text}@example.com").local == text and "+" not in text and '"' not in text
    except ValueError:
        return False
