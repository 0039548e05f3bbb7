"""What a zone needs to leave by a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from relay.config import egress
from relay.config.check_auth import is_variable
from relay.config.lines import Path
from relay.config.names import is_address
from relay.config.plain import shown
from relay.config.schema import Config, Zone
from relay.config.shape import Problem

#: What is of no use without a user.
_REST = ("egress_password_file", "egress_password_variable")


def problems(path: Path, zone: Zone, config: Config) -> Iterator[Problem]:
    """What is missing, or there in vain. The proxy isn't repeated: somebody may have put a password there."""
    yield from _login(path, zone)
    if not zone.egress:
        if zone.egress_user:
            yield Problem((*path, "egress"), "expected a proxy, for there is an egress_user")
        return
    try:
        proxy = egress.read(zone.egress)
    except ValueError as error:
        yield Problem((*path, "egress"), f'expected a proxy such as "socks5://10.0.0.5:1080": {error}')
        return
    if zone.host.startswith("/"):
        yield Problem((*path, "egress"), "expected none: a socket on this machine is reached by no proxy")
    if not proxy.states_source:
        return
    if zone.egress_user:
        yield Problem((*path, "egress_user"), f"expected it with socks5:// alone: {proxy.kind}:// knows no logins")
    kinds = {":" in address for address in zone.addresses}
    for entry in config.pools.get(zone.pool, ()):
        wildcard = is_address(entry.address) and ip_address(entry.address).is_unspecified
        if wildcard and (":" in entry.address) not in kinds:
            text = f"the zone's pool that can be named to the proxy, got {shown(entry.address)}"
            yield Problem((*path, "egress"), f"expected addresses in {text}")


def _login(path: Path, zone: Zone) -> Iterator[Problem]:
    if not zone.egress_user:
        for key in _REST:
            if getattr(zone, key):
                yield Problem((*path, "egress_user"), f"expected a name to log in with, for there is {key}")
        return
    if len(zone.egress_user.encode()) > egress.LONGEST:
        text = f"expected a name of {egress.LONGEST} bytes at most, got {shown(zone.egress_user)}"
        yield Problem((*path, "egress_user"), text)
    if bool(zone.egress_password_file) == bool(zone.egress_password_variable):
        text = "expected either egress_password_file or egress_password_variable, for there is an egress_user"
        yield Problem((*path, "egress_user"), text)
    if zone.egress_password_variable and not is_variable(zone.egress_password_variable):
        # A password that was put here by mistake isn't shown.
        yield Problem((*path, "egress_password_variable"), "expected the name of an environment variable")
