"""Sites: what recipient domains with the same mail exchangers share, limits above all. Pure.

A site is a string. The first of these names it:

1. a table of `[sites]` whose `mx` has a pattern that the exchangers match;
2. a provider that is known by the names of its hosts (relay.config.providers);
3. the exchangers themselves: `(mx1|mx2).example.net`.

A domain without exchangers is its own site. Only the most preferred exchangers say whose the
domain is, for backups are often somebody else's; but all of these have to, so that nobody gets his own host
into a provider's site by naming the provider's beside it. All exchangers make the third kind of name, so that
it hangs neither on their order nor on their preferences.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from relay.config.providers import PROVIDERS
from relay.config.schema import Site

DEFAULT = "default"

#: Most characters of a site that isn't a table's; what would be longer holds a hash.
LONGEST = 200

_MARKS = frozenset("(|)# ")


class Sites:
    """The sites of a configuration, and those that are known without one."""

    def __init__(self, sections: Mapping[str, Site]) -> None:
        """`sections` are the tables of `[sites]`, checked. A table without `mx` is for the provider of
        its name; one with `mx` has these patterns and none that are known under its name."""
        self._sections = {name.lower(): section for name, section in sections.items()}
        self._default = self._sections.pop(DEFAULT, Site())
        self._configured = {
            form(pattern): name for name, section in self._sections.items() for pattern in section.mx
        }
        redefined = set(self._configured.values())
        self._known = {
            pattern: name
            for name, provider in PROVIDERS.items()
            if name not in redefined
            for pattern in provider.mx
        }
        self._taken = {DEFAULT, *self._sections, *PROVIDERS}

    def site_of(self, exchangers: Sequence[tuple[int, str]], domain: str) -> str:
        """The site of `domain`, whose exchangers are (preference, host); none: the domain itself.

        What is derived never has a table's or provider's name: nobody's DNS can put a host among theirs.
        """
        hosts = [(preference, form(host)) for preference, host in exchangers if host.rstrip(".")]
        if not hosts:
            return self._derived([form(domain)])
        least = min(hosts)[0]
        whose = {self._whose(host) for preference, host in hosts if preference == least}
        name = whose.pop()
        return name if name and not whose else self._derived({host for _, host in hosts})

    def is_of(self, site: str, host: str) -> bool:
        """Whether a host speaks for a site: a domain's backup is often somebody else's."""
        return not self.is_named(site) or self._whose(form(host)) == site

    def _whose(self, host: str) -> str | None:
        return _match(self._configured, host) or _match(self._known, host)

    def section(self, site: str) -> Site:
        """The limits of a site: its table, as it is, else that of `default`."""
        return self._sections.get(site, self._default)

    def is_named(self, site: str) -> bool:
        """Whether it is a table's or a provider's: of such a site not every domain has the same hosts."""
        return site in self._taken

    def _derived(self, hosts: Iterable[str]) -> str:
        text = derived(hosts)
        return f"({text})" if text in self._taken else text


def form(name: str) -> str:
    """A host, domain or pattern as they are compared: lower case, without a dot at the end."""
    return name.rstrip(".").lower()


def is_literal(domain: str) -> bool:
    """Whether this is an address and no name, in brackets (RFC 5321 4.1.3) or without."""
    if domain[:1] == "[":
        return True
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def derived(hosts: Iterable[str]) -> str:
    """One name for a set of names, whatever their order, LONGEST characters at most: what they have in
    common at their end, two labels or more, is said once. Sets that differ have names that differ."""
    names = sorted(set(hosts))
    plain = all(map(_is_plain, names))
    tail = _common_end(names) if plain and len(names) > 1 else ""
    heads = "|".join(name.removesuffix(tail) for name in names)
    text = heads if len(names) == 1 else f"({heads}){tail}"
    if plain and len(text) <= LONGEST:
        return text
    digest = f"(#{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:32]})"
    return digest + tail if len(digest + tail) <= LONGEST else digest


def _is_plain(name: str) -> bool:
    """Whether it can stand in `(mx1|mx2).example.net` and be told apart there."""
    return name.isprintable() and _MARKS.isdisjoint(name)


def _common_end(names: Sequence[str]) -> str:
    """`.example.net` where all names end so and have something before it; "" where it is one label or none."""
    split = [name.split(".")[::-1] for name in names]
    common: list[str] = []
    for labels in zip(*(labels[:-1] for labels in split), strict=False):
        if len(set(labels)) > 1:
            break
        common.append(labels[0])
    return "." + ".".join(reversed(common)) if len(common) > 1 else ""


def _match(patterns: Mapping[str, str], host: str) -> str | None:
    """Whose `host` is, by the closest pattern: the host itself, then the longest end of its name."""
    found = patterns.get(host)
    while found is None and "." in host:
        host = host[host.index(".") + 1 :]
        found = patterns.get("*." + host)
    return found
