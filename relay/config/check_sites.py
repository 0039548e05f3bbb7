"""What tables of sites must be."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.names import is_host
from relay.config.plain import meant, shown
from relay.config.providers import PROVIDERS
from relay.config.schema import Config
from relay.config.shape import Problem


def problems(config: Config) -> Iterator[Problem]:
    """Each table of sites says which hosts are meant, in patterns that no other table has."""
    whose: dict[str, str] = {}
    for name, site in config.sites.items():
        path = ("sites", name)
        if name.lower() == "default":
            if site.mx:
                yield Problem((*path, "mx"), 'expected nothing: "default" is for each site without a table')
            continue
        if not site.mx and name.lower() not in PROVIDERS:
            expected = "expected mx, the names of its mail exchangers, or the name of a provider that is known"
            yield Problem(path, f"{expected}, got {shown(name)}" + meant(name, (*PROVIDERS, "default")))
        for index, pattern in enumerate(site.mx):
            place = (*path, "mx", f"[{index}]")
            plain = pattern.lower().removesuffix(".")
            if not is_host(plain.removeprefix("*.")):
                expected = 'expected a host such as "mx.example.com", or "*.example.com" for all below'
                yield Problem(place, f"{expected}, got {shown(pattern)}")
            elif whose.setdefault(plain, name) != name:
                other = f"which sites.{whose[plain]} has"
                yield Problem(place, f"expected a pattern of its own, got {shown(pattern)}, {other}")
