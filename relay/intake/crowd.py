"""How many clients of one listener are there at once, whichever of its processes they talk to."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from relay.listener.door import Refused
from relay.listener.listener import TOO_MANY_CONNECTIONS
from relay.smtp.reply import reply

TOO_MANY_FROM_ADDRESS = reply(421, "4.7.0 Too many connections from your address, try again later")


class Crowd:
    """Counts who is inside, in all and from each address.

    Whoever has an IPv6 address has a whole /64 of them, so that counts as one. Nothing is
    kept of clients that are gone: memory is bounded by `most`.

    Attributes:
        inside: clients that entered and have not left.
    """

    def __init__(self, most: int, per_address: int) -> None:
        self._most = most
        self._per_address = per_address
        self._counts: dict[str | int, int] = {}
        self.inside = 0

    def enter(self, address: str) -> None:
        """Count one more. Raises Refused (421), and counts nothing, when it is one too many."""
        if self.inside >= self._most:
            raise Refused(TOO_MANY_CONNECTIONS)
        network = network_of(address)
        count = self._counts.get(network, 0)
        if count >= self._per_address:
            raise Refused(TOO_MANY_FROM_ADDRESS)
        self._counts[network] = count + 1
        self.inside += 1

    def leave(self, address: str) -> None:
        """Count one less. Raises KeyError when nobody from there is inside: someone counts wrong."""
        network = network_of(address)
        left = self._counts[network] - 1
        if left:
            self._counts[network] = left
        else:
            del self._counts[network]
        self.inside -= 1


def network_of(address: str) -> str | int:
    """What is counted as one client: the IPv4 address, mapped ones too, or the upper half of an IPv6 one.

    Raises:
        ValueError: it is no IP address; only said of those that have a colon.
    """
    if ":" not in address:
        return address
    ip = ip_address(address)
    assert not isinstance(ip, IPv4Address)
    mapped = ip.ipv4_mapped
    return str(mapped) if mapped is not None else int(ip) >> 64
