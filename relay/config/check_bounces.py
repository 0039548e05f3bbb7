"""What bounce mail needs: an author that can stand in From, zones and listeners that there are."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.lines import Path
from relay.config.plain import meant, shown
from relay.config.schema import Bounces, Config
from relay.config.shape import Problem
from relay.message.addresslist import parse_list

#: What stands for the relay's hostname.
HOSTNAME = "[HOSTNAME]"
#: The name that mail by HTTP comes in by, beside those of listeners.
_API = "api"
_LONGEST = 200
#: A notice has to lie in one piece (bytes).
_LARGEST = 128 * 1024


def problems(config: Config) -> Iterator[Problem]:
    """All that is wrong with the section, and with what zones say of it."""
    bounces, path = config.bounces, ("bounces",)
    yield from _author((*path, "mailer_daemon"), bounces.mailer_daemon)
    if bounces.zone != Bounces().zone:
        yield from _zone((*path, "zone"), bounces.zone, config)
    if bounces.return_full_size > _LARGEST:
        yield Problem((*path, "return_full_size"), f'expected "128KB" at most, got {bounces.return_full_size} bytes')
    known = {_API, *config.listeners}
    for index, name in enumerate(bounces.disabled_listeners):
        if name not in known:
            text = f"expected the name of a listener ({', '.join(sorted(known))}), got {shown(name)}"
            yield Problem((*path, "disabled_listeners", f"[{index}]"), text + meant(name, known))
    for name, zone in config.zones.items():
        if zone.mailer_daemon:
            yield from _author(("zones", name, "mailer_daemon"), zone.mailer_daemon)
        if zone.bounce_zone:
            yield from _zone(("zones", name, "bounce_zone"), zone.bounce_zone, config)


def _author(path: Path, text: str) -> Iterator[Problem]:
    try:
        fits = text.isascii() and text.isprintable() and len(text) <= _LONGEST
        fits = fits and len(parse_list(text.replace(HOSTNAME, "relay.test"), 1)) == 1
    except ValueError:
        fits = False
    if not fits:
        yield Problem(path, f'expected an address such as "Mail <mailer-daemon@[HOSTNAME]>", got {shown(text)}')


def _zone(path: Path, name: str, config: Config) -> Iterator[Problem]:
    zones = {zone.lower() for zone in config.zones} | {"default"}
    if name.lower() not in zones:
        text = f"expected the name of a zone ({', '.join(sorted(zones))}), got {shown(name)}"
        yield Problem(path, text + meant(name, zones))
