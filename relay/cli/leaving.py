"""How a delivery would leave by a configuration, and why: its zone, local addresses and limits.

It asks what the relay itself asks; nothing here is a rule of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import msgspec

from relay.cli.safety import Safety, table_of, wishes
from relay.config import urls
from relay.config.load import dotted
from relay.config.plain import shown
from relay.config.schema import Config, Limits, Sender, Site
from relay.delivery.sts.shelf import Kept
from relay.intake.composing import routes
from relay.message.headers import HeaderBlock
from relay.zone.pool import Slots, number
from relay.zone.routing import Router
from relay.zone.zones import DEFAULT, Zone, Zones

#: Addresses shown of a pool, where none of them is chosen.
_SHOWN = 10
#: Keys of Limits, in the order in which they are told.
_LIMITS = tuple(field.name for field in msgspec.structs.fields(Limits))


class Mail(msgspec.Struct, frozen=True):
    """What is asked about. `id` is "" when it is not known yet; `own` the zone of the user in the users'
    file; `believed` whether X-Sending-Zone and X-Sending-TLS are; `require_tls` whether it has REQUIRETLS."""

    sender: str
    block: HeaderBlock
    client: str = ""
    user: str = ""
    own: str = ""
    believed: bool = True
    require_tls: bool = False


class Bound(msgspec.Struct, frozen=True):
    """One limit that applies: where it stands, and what it says."""

    key: str
    limit: str


class From(msgspec.Struct, frozen=True):
    """A local address, "" when none is chosen, what EHLO says there, and why."""

    address: str
    name: str
    why: str


class Leaving(msgspec.Struct, frozen=True):
    """How one delivery would leave. `site` is "" when it isn't known, or does not matter for there is a
    fixed next hop. `sender` is told where it isn't left as it came."""

    recipient: str
    zone: str
    rule: str
    why: str
    to: str
    next_hop: str
    site: str
    pool: str
    key: str
    ipv4: From
    ipv6: From
    disabled_addresses: tuple[str, ...]
    ipv6_preference: str
    limits: tuple[Bound, ...]
    tls: str
    sts: str
    through: str
    sender: str = ""


class Explained:
    """A configuration that is asked about mail."""

    def __init__(
        self, config: Config, zones: Zones, site_of: Callable[[str], str], kept: Callable[[str], Kept | None]
    ) -> None:
        """`site_of` gives the site of a recipient domain, "" when it isn't known; `kept` its policy of MTA-STS, as far
        as it is known here; it may raise ValueError."""
        self._config = config
        self._zones = zones
        self._router = Router(zones)
        self._site_of = site_of
        self._safety = Safety(config, zones, kept)

    def leaving(self, mail: Mail, recipient: str, name: str) -> Leaving:
        """How the delivery to `recipient`, called `name` (`id.seq`; "": not known), would leave. Raises ValueError: it
        would not be taken."""
        domain = recipient.rpartition("@")[2]
        course = routes(self._router, mail.block, mail.sender, mail.client, mail.user, mail.own, mail.believed)
        route = course.to(domain)
        zone = self._zones[route.zone]
        key = zone.key_of(name, mail.sender)
        by_name = zone.options.pool_hash == "id"
        by = f"its id {key}" if by_name else f"its sender <{key}>"
        excluded = self._zones.disabled(zone.name, domain)
        local = zone.pool.choose(key, excluded)
        slots4, slots6 = zone.pool.slots(excluded)
        # A fixed next hop is none of the domain's hosts.
        site = "" if zone.next_hop else self._site_of(domain)
        known = bool(name) or not by_name
        return Leaving(
            recipient,
            zone.name,
            route.rule,
            str(route),
            self._target(zone, domain),
            zone.next_hop,
            site,
            zone.options.pool,
            key,
            _from("IPv4", local.address, local.name, slots4, key, by, known),
            _from("IPv6", local.address6, local.name6, slots6, key, by, known),
            tuple(sorted(excluded)),
            self._preference(zone, domain),
            tuple(self._limits(zone, domain, site, mail.user)),
            *self._safety.told(zone, domain, wishes(mail.block, mail.believed, mail.require_tls, mail.sender)),
            f"{zone.options.egress} (zones.{zone.name}.egress)" if zone.options.egress else "",
            self._sender(zone, mail.sender),
        )

    def _sender(self, zone: Zone, sender: str) -> str:
        """What becomes of the sender where the zone rewrites it: the form of it, for the secret is the relay's."""
        section, how = self._config.returns, zone.options.return_path
        if not how or not sender:
            return ""
        where = f"zones.{zone.name}.return_path"
        domain = sender.rpartition("@")[2].lower()
        if domain in (section.domain.lower(), *map(str.lower, section.keep_domains)):
            return f"<{sender}>, as it came: {domain} keeps its return paths ({where})"
        form = "bounces+TOKEN" if how == "verp" else f"SRS0=HASH=DAY={domain}=..."
        return f"<{form}@{section.domain.lower()}> ({where})"

    def _target(self, zone: Zone, domain: str) -> str:
        disabled = ", but the zone is disabled: mail waits in it" if zone.options.disabled else ""
        if zone.options.url:
            return f"{urls.read(zone.options.url)}, by HTTP (zones.{zone.name}.url){disabled}"
        if zone.next_hop:
            by_lmtp = " by LMTP" if zone.options.lmtp else ""
            user = zone.options.auth_user
            login = f", logged in as {shown(user)} (zones.{zone.name}.auth_user)" if user else ""
            return f"the next hop {zone.next_hop}{by_lmtp} (zones.{zone.name}.host){login}{disabled}"
        return f"the mail exchangers of {domain}{disabled}"

    def _preference(self, zone: Zone, domain: str) -> str:
        ignore, prefer = self._zones.ipv6(zone.name, domain)
        said = "IPv4 only" if ignore else "IPv6 first" if prefer else "IPv4 first"
        key = "ignore_ipv6" if ignore else "prefer_ipv6"
        by_domain = not zone.is_fixed and getattr(self._zones.domain(domain), key) != "zone"
        return f"{said} ({dotted((*table_of(self._zones, zone, domain, by_domain), key))})"

    def _limits(self, zone: Zone, domain: str, site: str, user: str) -> Iterator[Bound]:
        options, path = zone.options, ("zones", zone.name)
        yield Bound(dotted((*path, "connections")), f"{options.connections} in each process")
        yield Bound(dotted((*path, "processes")), str(options.processes))
        if options.recipients_per_transaction > 1:
            many = f"{options.recipients_per_transaction} of one message at a time"
            yield Bound(dotted((*path, "recipients_per_transaction")), many)
        yield from _said(path, options)
        if options.throttling:
            yield Bound(dotted((*path, "throttling")), f"{options.throttling} on each connection")
        yield from _said((*path, "address"), options.address)
        yield from _said(("domains", self._zones.domain_table(domain)), self._zones.domain(domain))
        if site:
            yield from _of_table("sites", site, self._config.sites, Site())
        if user:
            yield from _of_table("senders", user, self._config.senders, Sender())


def _from(kind: str, address: str, name: str, slots: Slots, key: str, by: str, known: bool) -> From:
    """Of which slots it is one, and by what."""
    if not slots:
        return From("", "", f"the pool has no {kind} address in use: hosts are not reached over {kind}")
    counts = Counter(slots)
    if len(counts) == 1:
        return From(address, name, "the only one in use")
    if not known:
        shown = [f"{one.address} ({count} of {len(slots)} slots)" for one, count in counts.most_common(_SHOWN)]
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        return From("", "", f"its id picks one of {', '.join(shown)}{more}")
    place = number(key) % len(slots)
    has = counts[slots[place]]
    return From(address, name, f"slot {place + 1} of {len(slots)}, of which it has {has}, by {by}")


def _said(path: tuple[str, ...], section: Limits) -> Iterator[Bound]:
    """What a table limits; what it leaves open is not told."""
    for key in _LIMITS:
        value = getattr(section, key)
        if value:
            yield Bound(dotted((*path, key)), ", ".join(value) if isinstance(value, tuple) else str(value))


def _of_table(kind: str, name: str, tables: Mapping[str, Limits], usual: Limits) -> Iterator[Bound]:
    """What the table `name` limits; where there is none, "default", which is `usual` unless it is there."""
    found = {table.lower(): (table, section) for table, section in tables.items()}
    table, section = found.get(name.lower()) or found.get(DEFAULT) or (DEFAULT, usual)
    yield from _said((kind, table), section)
