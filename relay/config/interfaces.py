"""The addresses of this machine's network interfaces, as the kernel tells them (Linux, rtnetlink)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

_header = struct.Struct("=IHHII")
_about = struct.Struct("=BBBBI")
_attribute = struct.Struct("=HH")

_GETADDR, _NEWADDR, _DONE, _ERROR = 22, 20, 3, 2
_DUMP = 0x301
_ADDRESS, _LOCAL = 1, 2
_LINK_SCOPE = 253
#: An IPv6 address that changes by itself, or can't be bound: temporary, a duplicate, deprecated, tentative.
_PASSING = 0x01 | 0x08 | 0x20 | 0x40


class NoInterface(Exception):
    """There is no interface of that name; the text names those that there are."""


def names() -> list[str]:
    """The interfaces of this machine."""
    return [name for _, name in socket.if_nameindex()]


def addresses(name: str) -> tuple[str, ...]:
    """The addresses of an interface that mail can be sent from, in the order of the kernel: those that are good
    for one link alone, and IPv6 addresses that pass, are not among them.

    Raises:
        NoInterface: there is none.
        OSError: the kernel doesn't answer.
    """
    try:
        index = socket.if_nametoindex(name)
    except (OSError, ValueError):
        raise NoInterface(", ".join(names())) from None
    return tuple(address for interface, address in _all() if interface == index)


def _all() -> Iterator[tuple[int, str]]:
    """Each address, with the number of its interface."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(5)
        kernel.bind((0, 0))
        request = _about.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        kernel.send(_header.pack(_header.size + len(request), _GETADDR, _DUMP, 1, 0) + request)
        while True:
            data = kernel.recv(1 << 16)
            while data:
                size, kind, *_ = _header.unpack_from(data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not tell its addresses")
                if kind == _NEWADDR:
                    yield from _address(data[_header.size : size])
                data = data[_padded(size) :]


def _address(message: bytes) -> Iterator[tuple[int, str]]:
    family, _, flags, scope, interface = _about.unpack_from(message)
    if scope == _LINK_SCOPE or (family == socket.AF_INET6 and flags & _PASSING):
        return
    found: dict[int, bytes] = {}
    data = message[_about.size :]
    while len(data) >= _attribute.size:
        size, kind = _attribute.unpack_from(data)
        found[kind] = data[_attribute.size : size]
        data = data[_padded(size) :]
    # Of a point-to-point link, _ADDRESS is the other end.
    packed = found.get(_LOCAL) or found.get(_ADDRESS)
    if packed:
        yield interface, str(ip_address(packed))


def _padded(size: int) -> int:
    """Messages and attributes begin at multiples of four bytes. None is empty: that would never end."""
    return max(4, (size + 3) & ~3)
