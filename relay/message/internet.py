"""Which IP addresses are of the public Internet, so that nobody reaches our own network by mail.

An IPv6 address may be another way to write an IPv4 address, and there are more such ways than
the one that sockets know: what a gateway near us makes of it is what counts.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

#: ::/96 (RFC 4291 2.5.5.1) and 64:ff9b::/96 (NAT64, RFC 6052 2.1): the last 32 bits are IPv4.
_WITH_IPV4 = frozenset({0, int(IPv6Address("64:ff9b::")) >> 32})
#: NAT64 within one network, whatever it translates to (RFC 8215).
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


def meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    if number >> 32 in _WITH_IPV4:
        return IPv4Address(number & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether it can be a host of the Internet."""
    address = meant(address)
    if isinstance(address, IPv6Address) and (address.is_site_local or address in _LOCAL_NAT64):
        return False
    return address.is_global and not address.is_multicast
