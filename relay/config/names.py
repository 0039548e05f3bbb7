"""What a host name and an address look like where the configuration names one."""

from __future__ import annotations

import ipaddress


def is_host(text: str) -> bool:
    """What a HELO may say (RFC 5321 4.1.2), and underscores, which real hosts have."""
    labels = text.removesuffix(".").split(".")
    return len(text) <= 253 and all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "a").isalnum()
        for label in labels
    )


def is_loopback(host: str) -> bool:
    """Whether what is there is this machine."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(text: str) -> bool:
    """An IP address. A scope is no part of what can be bound by name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
