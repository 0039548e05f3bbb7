"""Recipients that are places within our own network, which no client may reach by mail."""

from __future__ import annotations

import ipaddress

from relay.message.address import Address
from relay.message.internet import is_public
from relay.smtp.reply import Reply, reply

LOCAL_DESTINATION = reply(550, "5.1.2 Mail to local addresses is not accepted")


def refusal(address: Address) -> Reply | None:
    """Why nobody may send mail to an address; None: who may send any may send to it."""
    return LOCAL_DESTINATION if is_local(address.domain) else None


def is_local(domain: str) -> bool:
    """Whether the domain of a recipient is localhost or an IP address that isn't of the public Internet.

    Numbers that are no address (127.1, 2130706433) are one to old resolvers, and no domain of the
    Internet ends with one (RFC 3696 2): they count as local too. What a name resolves to is not
    asked here; delivery looks at that once more.
    """
    if domain == "localhost" or domain.endswith((".localhost", ".localdomain")):
        return True
    if domain[0] == "[":
        literal = domain[1:-1].removeprefix("IPv6:")
    elif domain[-1].isdigit() and domain.rpartition(".")[2].isdigit():
        literal = domain
    else:
        return False
    try:
        ip = ipaddress.ip_address(literal)
    except ValueError:
        return domain[0] != "["
    return not is_public(ip)
