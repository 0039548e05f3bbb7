"""What each new child is told at its birth: where the master is, and its part of the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec.structs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort

from relay.channel.briefing import ReceiverBriefing, SenderBriefing
from relay.config.schema import Config, Dkim, Listener, Returns
from relay.config.secret import passwords, secrets
from relay.zone.zones import Zones


class Briefings:
    """Makes them; the place of a sender is a zone, that of a receiver a listener."""

    def __init__(
        self,
        config: Config,
        zones: Zones,
        secret: str,
        journals: Path,
        ports: Callable[[], Sequence[tuple[str, IListeningPort]]],
    ) -> None:
        """`secret` is what the data channel asks for, `journals` the directory of outcome journals. `ports`
        gives what the master listens on, each with what it is for; the first is the data channel."""
        self._config = config
        self._zones = zones
        self._secret = secret
        self._journals = journals
        self._ports = ports
        self._passwords: dict[str, str] = {}
        self._egress_passwords: dict[str, str] = {}
        #: What return addresses are signed with; see `relay.config.secret`.
        self.return_secrets: tuple[bytes, ...] = ()

    def read_secrets(self) -> None:
        """Passwords with which zones log in, and what return addresses are signed with; children are told what was
        found now. Raises SecretUnusable."""
        self._passwords = passwords(self._config.zones)
        self._egress_passwords = passwords(self._config.zones, "egress")
        self.return_secrets = secrets(("returns",), self._config.returns)

    def sender(self, zone: str, child: str) -> SenderBriefing:
        """For a child that delivers."""
        config, address, options = self._config, self._channel(), self._zones[zone].options
        rewrites = bool(options.return_path or options.list_unsubscribe)
        return SenderBriefing(
            host=address.host,
            port=address.port,
            secret=self._secret,
            child=child,
            place=zone,
            journal=str((self._journals / child).absolute()),
            options=options,
            own=self._own(options.port),
            timeouts=config.timeouts,
            dns=config.dns,
            hostname=config.hostname,
            product=config.name,
            dkim=self._dkim(),
            ipv6=self._zones.ipv6_by_domain(zone),
            tls=self._zones.tls_by_domain(zone),
            sts=self._zones.sts_by_domain(zone),
            policies=str((Path(config.queue.path) / "sts").absolute()),
            dane=self._zones.dane_by_domain(zone),
            backoff=config.backoff,
            authorities=config.tls.authorities and str(Path(config.tls.authorities).absolute()),
            password=self._passwords.get(zone, ""),
            egress_password=self._egress_passwords.get(zone, ""),
            returns=config.returns if rewrites else Returns(),
            return_secrets=self.return_secrets if rewrites else (),
        )

    def receiver(self, listener: str, child: str, section: Listener) -> ReceiverBriefing:
        """For a child that takes mail."""
        config, address = self._config, self._channel()
        return ReceiverBriefing(
            host=address.host,
            port=address.port,
            secret=self._secret,
            child=child,
            place=listener,
            hostname=config.hostname,
            master=os.getpid(),
            section=section,
            dkim=self._dkim(),
        )

    def _dkim(self) -> Dkim:
        section = self._config.dkim
        return msgspec.structs.replace(section, keys=str(Path(section.keys).absolute()))

    def _channel(self) -> IPv4Address | IPv6Address:
        return cast("IPv4Address | IPv6Address", self._ports()[0][1].getHost())

    def _own(self, number: int) -> tuple[str, ...]:
        """The addresses where a listener takes mail at this port, as far as they are known."""
        hosts = [port.getHost() for what, port in self._ports() if what.startswith("listener ")]
        return tuple(
            host.host
            for host in hosts
            if isinstance(host, IPv4Address | IPv6Address)
            and host.port == number
            and host.host not in ("0.0.0.0", "::")
        )
