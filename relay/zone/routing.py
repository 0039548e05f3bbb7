"""Which zone a delivery goes through. Pure.

The first of these that names a zone decides: the X-Sending-Zone header (where the way in
allows it), routing headers, the domain of the sender, the domain of the recipient; else
the default zone. A name that is no zone, or a disabled one, is passed over: mail would
lie there for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.zone.zones import DEFAULT, Zones

#: Values of a header field by its lower-case name, top to bottom.
Fields = Callable[[str], list[str]]


class Router:
    """The routing rules of a configuration, turned over for quick answers."""

    def __init__(self, zones: Zones) -> None:
        self._names = {zone.name for zone in zones.active()}
        self._by_header: dict[str, dict[str, str]] = {}
        self._by_sender: dict[str, str] = {}
        self._by_recipient: dict[str, str] = {}
        for zone in zones.active():
            for header, values in zone.options.routing_headers.items():
                claimed = self._by_header.setdefault(header.strip().lower(), {})
                for value in values:
                    claimed.setdefault(value.strip().lower(), zone.name)
            for domain in zone.options.sender_domains:
                self._by_sender.setdefault(domain.lower(), zone.name)
            for domain in zone.options.recipient_domains:
                self._by_recipient.setdefault(domain.lower(), zone.name)

    def for_message(self, asked: str, fields: Fields, from_domain: str, sender_domain: str) -> str:
        """The zone that all recipients of a message share, "" when their domains decide.

        `asked` is the X-Sending-Zone value, "" where it is absent or not allowed;
        `from_domain` is that of the header From, "" to go by the envelope.
        """
        asked = asked.strip().lower()
        if asked in self._names:
            return asked
        for header, zones in self._by_header.items():
            for value in reversed(fields(header)):
                if zone := zones.get(value.strip().lower()):
                    return zone
        return self._by_sender.get(from_domain or sender_domain, "")

    def for_recipient(self, message_zone: str, domain: str) -> str:
        """The zone of one delivery."""
        return message_zone or self._by_recipient.get(domain, DEFAULT)
