"""How safe a delivery would have to be on its way, and who says so: zone, domain, the message, or those it goes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay.config.load import dotted
from relay.config.schema import Config
from relay.delivery.sts.shelf import Kept
from relay.message import tls_asked
from relay.message.date import date_of
from relay.message.headers import HeaderBlock
from relay.zone.zones import Zone, Zones

_TLS = {
    "none": "mail leaves in the clear",
    "may": "encrypted where the host can, with any certificate, else in the clear",
    "must": "encrypted, with any certificate, or not at all",
    "verify": "encrypted, with a certificate of the host's that is trusted, or not at all",
    "sts": "encrypted, to the hosts that the domain's MTA-STS policy names, with their certificates, or not at all",
    "dane": "encrypted, with the certificate that the host's TLSA records ask for, or not at all",
}
_FIXED = "not heeded: a fixed next hop is none of the domain's hosts"
_HEEDLESS = f"{tls_asked.REQUIRED}: No"


class Told(NamedTuple):
    """What is asked of TLS, and whether the domain's policy of MTA-STS counts; each with who says so."""

    tls: str
    sts: str


class Wishes(NamedTuple):
    """What a message says itself: as it would be kept with it (relay.message.tls_asked), and whether it has
    REQUIRETLS; `bounce`: it does without where that can't be had."""

    asked: str
    require_tls: bool
    bounce: bool


def wishes(block: HeaderBlock, believed: bool, require_tls: bool, sender: str) -> Wishes:
    """Those of a message with this header; `believed`: X-Sending-TLS is. Raises ValueError: it would not be taken."""
    words = tuple(block.all(tls_asked.ASKED)) if believed else ()
    try:
        asked = tls_asked.asked(words, tuple(block.all(tls_asked.REQUIRED)), require_tls)
    except ValueError as error:
        raise ValueError(f"{tls_asked.ASKED}: {error}") from None
    return Wishes(asked, require_tls, not sender)


class Safety:
    """A configuration that is asked about it."""

    def __init__(self, config: Config, zones: Zones, kept: Callable[[str], Kept | None]) -> None:
        """`kept` gives a domain's policy of MTA-STS, as far as it is known here; it may raise ValueError."""
        self._config = config
        self._zones = zones
        self._kept = kept

    def told(self, zone: Zone, domain: str, wishes: Wishes) -> Told:
        """Of mail of `zone` to `domain`."""
        own = self._zones.tls(zone.name, domain)
        by_domain = self._zones.domain(domain).tls != "zone" and not zone.is_fixed
        where = dotted((*table_of(self._zones, zone, domain, by_domain), "url" if zone.options.url else "tls"))
        if zone.options.url:
            return Told(f"{own}: {_TLS[own]} ({where}){_by_url(own, wishes)}", _FIXED)
        holds = tls_asked.holding(own, wishes.asked, wishes.require_tls, zone.is_fixed)
        without = tls_asked.holding(own, wishes.asked, False, zone.is_fixed)
        said = where
        if holds != own:
            said = f"{tls_asked.ASKED}: {wishes.asked}" if holds == without else "REQUIRETLS"
            said = f"{said}; {where} asks for less: {own}"
        implicit = ", from the first byte" if zone.options.implicit_tls else ""
        tls = f"{holds}: {_TLS[holds]}{implicit} ({said}){self._dane(zone, domain, holds, wishes)}"
        if wishes.require_tls:
            tls += "; REQUIRETLS, which the host has to offer, too"
            tls += "" if zone.is_fixed else ", and DNSSEC or an MTA-STS policy to name it"
            tls += f"; else, for it is a bounce, as without: {without}" if wishes.bounce else "; else it bounces"
        return Told(tls, self._sts(zone, domain, where, holds, wishes))

    def _dane(self, zone: Zone, domain: str, holds: str, wishes: Wishes) -> str:
        """Whether the TLSA records of hosts have a word in it; where "dane" or "none" is asked for that is clear."""
        if not self._config.dns.dnssec or zone.is_fixed or holds in ("dane", "none"):
            return ""
        if tls_asked.is_heedless(holds, wishes.asked):
            return f"; TLSA records are not asked for ({_HEEDLESS})"
        on = self._zones.dane(zone.name, domain)
        table = table_of(self._zones, zone, domain, self._zones.domain(domain).dane != "zone")
        said = "as their TLSA records ask, where hosts have some" if on else "TLSA records are not asked for"
        return f"; {said} ({dotted((*table, 'dane'))})"

    def _sts(self, zone: Zone, domain: str, where: str, holds: str, wishes: Wishes) -> str:
        """Whether what the domain says of its hosts counts, and what is known of that. `where` stands what is said of
        TLS without the message."""
        if zone.is_fixed:
            return _FIXED
        if tls_asked.is_heedless(holds, wishes.asked):
            return f"not heeded ({_HEEDLESS})"
        own = self._zones.tls(zone.name, domain)
        heeded = self._zones.sts(zone.name, domain)
        if not heeded and (holds == "sts" or wishes.require_tls):
            heeded, where = True, "REQUIRETLS" if wishes.require_tls else f"{tls_asked.ASKED}: {holds}"
        elif own not in ("none", "sts"):
            by_domain = self._zones.domain(domain).sts != "zone"
            where = dotted((*table_of(self._zones, zone, domain, by_domain), "sts"))
        if not heeded:
            return f"not heeded ({where})"
        try:
            kept = self._kept(domain)
        except ValueError as error:
            return f"heeded ({where}); what is kept here of {domain} can't be read: {error}"
        if kept is None:
            return f"heeded ({where}); no policy of {domain} is kept here"
        until = date_of(kept.fetched + kept.max_age * 1000)
        return f"heeded ({where}); kept here: {kept.mode}, {', '.join(kept.mx)}; id {kept.id}, until {until}"


def table_of(zones: Zones, zone: Zone, domain: str, by_domain: bool) -> tuple[str, str]:
    """The table whose word counts."""
    return ("domains", zones.domain_table(domain)) if by_domain else ("zones", zone.name)


def _by_url(own: str, wishes: Wishes) -> str:
    """What comes of the wishes where the scheme of a URL has decided."""
    wants = (wishes.require_tls and not wishes.bounce) or wishes.asked in tls_asked.DEMANDS
    return "; the message requires TLS, and bounces" if own == "none" and wants else ""
