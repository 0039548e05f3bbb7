"""A reporter as the configuration wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from relay.config.schema import Config
from relay.listener.door import Intake
from relay.net.client_tls import ClientTls
from relay.net.dns import Resolver
from relay.tlsrpt.courier import Courier
from relay.tlsrpt.post import Post
from relay.tlsrpt.report import Author
from relay.tlsrpt.reporter import Reporter


def reporter_of(
    config: Config, intake: Intake, reactor: Any, now: Callable[[], int], in_thread: Callable[..., Deferred[Any]]
) -> Reporter | None:
    """None where no reports are to be sent. `now` gives ms since the epoch, `in_thread` runs a function where it may
    take a while."""
    section = config.tls_reports
    if not section.on:
        return None
    author = Author(
        section.organization,
        section.contact or section.sender,
        section.sender,
        (section.domain or section.sender.rpartition("@")[2]).lower(),
    )
    resolver = Resolver(reactor, config.dns)
    poster = Post(reactor, resolver, ClientTls(config.tls.authorities), section.block_local_addresses)
    courier = Courier(intake, resolver, poster, in_thread)
    return Reporter(author, courier, Path(config.queue.path) / "tls-reports.json", reactor, now, in_thread)
