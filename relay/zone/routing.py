"""Which zone a delivery goes through, and by which rule. Pure.

The first of these that names a zone decides:

1. the zone that is the user's own, from the users' file;
2. the X-Sending-Zone header, where the way in allows it;
3. routing headers;
4. the domain of the header From, or where there is none, of the envelope sender;
5. the domain of the recipient;
6. the network of the client;
7. the user;

else it is the default zone. A name that is no zone, or a disabled one, is passed over: mail
would lie there for ever. Where two zones claim the same, the first one in the file has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from relay.zone.zones import DEFAULT, Zones

#: Values of a header field by its lower-case name, top to bottom.
Fields = Callable[[str], list[str]]

#: Clients whose networks are remembered.
_REMEMBERED = 4096


class Route(NamedTuple):
    """The zone that was chosen, and why: the rule, and what of the mail it went by.

    `rule` is the key of the zone's table, or `user's zone`, `X-Sending-Zone`, `default`.
    """

    zone: str
    rule: str
    value: str = ""

    def __str__(self) -> str:
        if not self.rule or self.rule == DEFAULT:
            return "no rule names another zone"
        if self.rule == OWN:
            return f"the zone of the user {self.value} in the users' file"
        if self.rule == ASKED:
            return f"the header X-Sending-Zone: {self.value}"
        return f"zones.{self.zone}.{self.rule} has {self.value}"


OWN = "user's zone"
ASKED = "X-Sending-Zone"
_DEFAULT = Route(DEFAULT, DEFAULT)


class Mail(NamedTuple):
    """What of a message the rules go by.

    `own` is the zone that all mail of the user goes through, `asked` the X-Sending-Zone value, each
    "" when there is none, or it isn't believed. `from_domain` is that of the header From, ""
    to go by the envelope. `client` is an IP address, or "" when nobody knows.
    """

    fields: Fields
    own: str = ""
    asked: str = ""
    from_domain: str = ""
    sender_domain: str = ""
    client: str = ""
    user: str = ""


class Routes(NamedTuple):
    """The routes of one message: what its recipients can't change, and what is left when they don't."""

    first: Route | None
    by_recipient: Mapping[str, Route]
    last: Route

    def to(self, domain: str) -> Route:
        """The route of a delivery to `domain`."""
        return self.first or self.by_recipient.get(domain) or self.last


class Router:
    """The routing rules of a configuration, turned over for quick answers."""

    def __init__(self, zones: Zones) -> None:
        self._names = {zone.name for zone in zones.active()}
        self._by_header: dict[str, dict[str, Route]] = {}
        self._by_sender: dict[str, Route] = {}
        self._by_recipient: dict[str, Route] = {}
        self._by_user: dict[str, Route] = {}
        networks: list[tuple[IPv4Network | IPv6Network, Route]] = []
        for zone in zones.active():
            name, options = zone.name, zone.options
            for header, values in options.routing_headers.items():
                header = header.strip().lower()
                claims = self._by_header.setdefault(header, {})
                for value in values:
                    route = Route(name, "routing_headers", f"{header}: {value.strip()}")
                    claims.setdefault(value.strip().lower(), route)
            for key, claims, words in (
                ("sender_domains", self._by_sender, options.sender_domains),
                ("recipient_domains", self._by_recipient, options.recipient_domains),
                ("users", self._by_user, options.users),
            ):
                for word in words:
                    claims.setdefault(word.lower(), Route(name, key, word))
            for text in options.client_networks:
                networks.append((ip_network(text, strict=False), Route(name, "client_networks", text)))
        # The smallest network that a client is in counts.
        self._networks = sorted(networks, key=lambda pair: -pair[0].prefixlen)
        self._clients: dict[str, Route | None] = {}

    def routes(self, mail: Mail) -> Routes:
        """How the deliveries of a message go; `Routes.to` says it of each, and why."""
        return Routes(self._first(mail), self._by_recipient, self._last(mail))

    def _first(self, mail: Mail) -> Route | None:
        if mail.own or mail.asked:
            for name, rule, value in ((mail.own, OWN, mail.user), (mail.asked, ASKED, mail.asked)):
                name = name.strip().lower()
                if name in self._names:
                    return Route(name, rule, value)
        for header, claims in self._by_header.items():
            for value in reversed(mail.fields(header)):
                if route := claims.get(value.strip().lower()):
                    return route
        return self._by_sender.get(mail.from_domain or mail.sender_domain)

    def _last(self, mail: Mail) -> Route:
        route = self._of_client(mail.client) if self._networks and mail.client else None
        return route or self._by_user.get(mail.user.lower()) or _DEFAULT

    def _of_client(self, client: str) -> Route | None:
        if client not in self._clients:
            if len(self._clients) >= _REMEMBERED:
                self._clients.clear()
            self._clients[client] = self._look_up(client)
        return self._clients[client]

    def _look_up(self, client: str) -> Route | None:
        try:
            address = ip_address(client)
        except ValueError:  # a client on a socket of this machine, or what somebody else calls one
            return None
        # A socket for both kinds tells IPv4 clients so.
        address = getattr(address, "ipv4_mapped", None) or address
        return next((route for network, route in self._networks if address in network), None)
