"""What a child needs to heed MTA-STS, put together from its briefing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from relay.channel.briefing import SenderBriefing
from relay.delivery.exchangers import Settings
from relay.delivery.sts.fetching import Fetching
from relay.delivery.sts.heeding import Heeding
from relay.delivery.sts.policies import Policies
from relay.delivery.sts.shelf import Shelf
from relay.message.clock import WallClock
from relay.message.tls import TlsResult
from relay.net.client_tls import ClientTls
from relay.net.dns import Resolver


def heeding(
    briefing: SenderBriefing,
    reactor: Any,
    outward: Any,
    resolver: Resolver,
    client_tls: ClientTls,
    tell: Callable[[TlsResult], None],
    in_thread: Callable[..., Deferred[Any]],
) -> Heeding | None:
    """What heeds it. Policy hosts are called by `outward`, a reactor that may lead through a proxy. None: mail goes to
    no host of its domain's. Where zone and domain have no use for policies a message may."""
    options = briefing.options
    if options.host or options.url:
        return None
    families = Settings(options.ignore_ipv6, options.prefer_ipv6).families
    timeout, block = briefing.timeouts.sts, options.block_local_addresses
    fetching = Fetching(outward, resolver, client_tls, timeout, families, block)
    shelf = Shelf(Path(briefing.policies), briefing.child)
    policies = Policies(resolver.txt, fetching, shelf, reactor, WallClock(), in_thread)
    if any(briefing.sts.values()):
        policies.start()  # What a single message needed is looked at when another one does.
    return Heeding(briefing.sts, policies, tell)
