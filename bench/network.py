"""Ports for a run: a network of its own where that is allowed, else free ports of loopback."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import socket
import ssl
import struct
import threading
import time
from collections import deque
from functools import cache

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def own_network() -> bool:
    """Move this process (call it before any thread starts) into a network namespace that has
    only loopback. False, and nothing changed, where the kernel or the user may not."""
    if os.geteuid() or ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(s, _SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    for key, value in (("ipv4/ip_local_port_range", "10000 65000"), ("core/somaxconn", "4096")):
        try:
            with open(f"/proc/sys/net/{key}", "w") as file:
                file.write(value)
        except OSError:
            pass  # read-only /proc/sys, as in many containers: the defaults do
    return True


#: Below what systems give to outgoing connections, which would take a port before it is listened to.
#: The relay's own by default are left out, since some tests start it as it is.
_PORTS = [port for port in range(5_000, 10_000) if port not in (8080, 8081)]
#: So many processes can give out ports at a time without giving the same.
_SHARES = 10
#: Given out by this process, so that who asks twice before listening gets others.
_given: deque[int] = deque(maxlen=300)


@cache
def _share() -> tuple[list[int], socket.socket]:
    """The ports this process gives out, and what says to all others that they are taken: a name that is free when
    the process ends, however it does."""
    for number in range(_SHARES):
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mark.bind(f"\0zonerelay-ports-{number}")
        except OSError:
            mark.close()
        else:
            return _PORTS[number::_SHARES], mark
    raise OSError(f"{_SHARES} processes give out ports already")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens to just now, on all of loopback; all different."""
    ports: list[int] = []
    share, _ = _share()
    for port in random.sample(share, len(share)):
        if port in _given:
            continue
        with socket.socket() as s:
            # As a server would: a closed connection that lingers on the port is in nobody's way.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("0.0.0.0", port))
                s.listen()
            except OSError:
                continue
            ports.append(port)
            _given.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports left among {len(share)}")


def greets(port: int, host: str = "127.0.0.1", timeout: float = 3.0, tls: bool = False) -> bool:
    """Whether an SMTP server says 220 there now, behind implicit TLS or without; it is left politely."""
    try:
        with _connection(host, port, timeout, tls) as s:
            s.settimeout(timeout)
            if not s.recv(200).startswith(b"220"):
                return False
            s.sendall(b"QUIT\r\n")
            s.recv(100)
            return True
    except OSError:
        return False


def _connection(host: str, port: int, timeout: float, tls: bool) -> socket.socket:
    plain = socket.create_connection((host, port), timeout)
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def wait_greeting(port: int, seconds: float) -> float | None:
    """Seconds until an SMTP server greets; None when it doesn't in that time."""
    start = time.monotonic()
    while not greets(port):
        if time.monotonic() - start > seconds:
            return None
        threading.Event().wait(0.02)
    return time.monotonic() - start
