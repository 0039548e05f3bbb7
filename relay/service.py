"""The relay as one Twisted service: started bottom-up, drained and stopped in a written order.

Start: queue, data channel, listeners, API, then the children; every failure is one clear
line. Mail is accepted at once; nothing is offered before the journals of an earlier start
have been read and whoever still writes them is gone.

Stop: listeners (open dots are answered), API, dispatch, children (final dots are waited
for), channel, queue.
"""

from __future__ import annotations

import gc
import secrets
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.briefing import Briefing
from relay.channel.frames import Welcome
from relay.channel.gate import Gate
from relay.channel.journal import Acceptance, left_behind
from relay.children.fence import fence
from relay.children.roster import Roster, read_journals, remove
from relay.config.schema import Config
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.ledger import Ledger
from relay.dispatch.operator import Operator
from relay.dispatch.results import Results
from relay.dkim.keys import KeyIndex
from relay.intake.listener import ListenerFactory
from relay.intake.submission import Intake
from relay.logs.maillog import MailLog
from relay.message.clock import WallClock
from relay.metrics.definitions import Metrics, QueueSize
from relay.queue.leases import Leases
from relay.queue.level import LevelStore
from relay.queue.retry import Retry
from relay.queue.schedule import Schedule
from relay.queue.store import QueueUnusable
from relay.zone.routing import Router
from relay.zone.zones import from_config

_log = Logger()


class StartupError(Exception):
    """The relay can't start; the text is one line for the operator."""


class RelayService(Service):
    """The whole relay."""

    name = "zonerelay"

    def __init__(self, config: Config, reactor: Any) -> None:
        """Builds, opens nothing: the queue must not be open when the process daemonises."""
        self._config = config
        self._reactor = reactor
        self._secret = secrets.token_urlsafe(32)
        self._listeners: dict[str, ListenerFactory] = {}
        self._ports: list[tuple[str, IListeningPort]] = []
        self._starting: Deferred[None] | None = None
        zones = self._zones = from_config(config)
        now = self._now = WallClock()
        log = self._log = MailLog(reactor, now)
        self.metrics = Metrics()
        self.metrics.queue_size = self._queue_size
        self.metrics.pool_size = lambda: self.ledger.idle_connections
        self.store = LevelStore(config.queue.path, config.queue, reactor)
        retry = Retry(config.queue)
        leases = Leases(secrets.randbits(31))
        self.schedule = Schedule(self.store, retry, reactor, now, config.queue.memory)
        self._results = Results(self.store, self.schedule, retry, log, self.metrics, now)
        self.ledger = Ledger()
        self.dispatcher = Dispatcher(
            self.store, self.schedule, leases, self.ledger, zones, self._results, self.metrics, reactor
        )
        self.operator = Operator(self.store, self.schedule, leases, log, reactor, now)
        self.intake = Intake(
            store=self.store,
            schedule=self.schedule,
            router=Router(zones),
            keys=KeyIndex(config.dkim.keys, reactor),
            hostname=config.hostname,
            log=log,
            counts=self.metrics,
            now=now,
        )
        welcome = Welcome(leases.epoch, config.channel.heartbeat, config.channel.lease)
        self._journals = Path(config.queue.path) / "journal"
        self.roster = Roster(reactor, self._briefing, welcome, self._journals, self.dispatcher)
        self._gate = Gate(self._secret, self.roster.admit, reactor)

    # -- start

    def startService(self) -> None:
        """Opens the queue and all ports. Raises StartupError; nothing is left half-started."""
        try:
            self._open()
        except QueueUnusable as error:
            raise StartupError(str(error)) from None
        except OSError as error:
            self._abort_start()
            raise StartupError(f"the mail log can't be written: {error}") from None
        except StartupError:
            self._abort_start()
            raise
        super().startService()
        # What the start has made stays; mail makes no cycles to speak of.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self.schedule.start()
        self.roster.start([(zone.name, zone.options.processes) for zone in self._zones.active()])
        self._starting = Deferred.fromCoroutine(self._begin_to_send())
        self._starting.addErrback(lambda failure: _log.failure("deliveries can't start", failure))
        ports = ", ".join(f"{what} on {_where(port)}" for what, port in self._ports)
        _log.info("ready: {ports}", ports=ports)

    def _open(self) -> None:
        config = self._config
        self.store.open()
        self.intake.ids.start_above(self.store.newest)
        self._log.open(config.logs.mail, Path(config.queue.path))
        self.store.on_writable(self.dispatcher.resume)
        self.store.on_broken(self.dispatcher.hold)
        self._listen("data channel", config.channel.endpoint, self._gate)
        for name, section in config.listeners.items():
            factory = ListenerFactory(section, name, config.hostname, self.intake, self._reactor)
            self._listeners[name] = factory
            self._listen(f"listener {name}", section.endpoint, factory)
        from relay.http.operator import Standing
        from relay.http.site import make_site  # Klein installs a reactor when imported.

        zones = self._zones
        self._site = make_site(
            config.api,
            hostname=config.hostname,
            intake=self.intake,
            store=self.store,
            operator=self.operator,
            standing=Standing(
                self._now(),
                lambda: [(name, zones[name].options.disabled) for name in zones.names()],
                self.metrics.processed,
            ),
            metrics=self.metrics,
            reactor=self._reactor,
            now=self._now,
        )
        self._listen("API", config.api.endpoint, self._site)

    def _listen(self, what: str, endpoint: str, factory: IProtocolFactory) -> None:
        """A server endpoint listens at once or fails at once."""
        came: list[Any] = []
        serverFromString(self._reactor, endpoint).listen(factory).addBoth(came.append)
        port = came[0] if came else Failure(OSError("the endpoint did not listen at once"))
        if isinstance(port, Failure):
            raise StartupError(f"{what}: can't listen on {endpoint}: {port.getErrorMessage()}")
        self._ports.append((what, port))

    def _abort_start(self) -> None:
        for _, port in self._ports:
            port.stopListening()
        self.store.close()

    def _briefing(self, zone: str, child: str) -> Briefing:
        config, address = self._config, cast(IPv4Address, self._ports[0][1].getHost())
        return Briefing(
            host=address.host,
            port=address.port,
            secret=self._secret,
            child=child,
            journal=str((self._journals / child).absolute()),
            zone=zone,
            options=self._zones[zone].options,
            own=self._own(self._zones[zone].options.port),
            timeouts=config.timeouts,
            dns=config.dns,
            hostname=config.hostname,
            product=config.name,
        )

    def _own(self, number: int) -> tuple[str, ...]:
        """The addresses where a listener takes mail at this port, as far as they are known."""
        hosts = [port.getHost() for what, port in self._ports if what.startswith("listener ")]
        return tuple(
            host.host
            for host in hosts
            if isinstance(host, IPv4Address | IPv6Address)
            and host.port == number
            and host.host not in ("0.0.0.0", "::")
        )

    async def _begin_to_send(self) -> None:
        """Settle what an earlier start's children had delivered, then offer."""
        epoch = f"{self.roster.epoch:08x}-"
        files = [path for path in left_behind(self._journals) if not path.name.startswith(epoch)]
        await fence(files, self._reactor)
        await self._settle(read_journals(files))
        remove(files)
        self.dispatcher.start()

    async def _settle(self, entries: list[Acceptance]) -> None:
        for entry in entries:
            message = self.store.message(entry.id)
            row = self.store.delivery(entry.id, entry.seq) if message else None
            work = self.schedule.claim(message, row) if message and row else None
            if work is not None:
                await self.dispatcher.settle_from_journal(work, entry)

    def _queue_size(self) -> QueueSize:
        counts = [self.store.count(zone, self._now()) for zone in self.store.zones()]
        return QueueSize(sum(count.queued for count in counts), sum(count.deferred for count in counts))

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Drains and stops. Takes at most `shutdown_timeout` for each part that is waited for."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        limit = self._config.shutdown_timeout
        for _, port in self._ports[1:]:
            await _waited(port.stopListening())
        for factory in self._listeners.values():
            await self._within(limit, factory.stop())
        self._site.close_connections()
        self.dispatcher.stop()
        if self._starting is not None:
            self._starting.cancel()
        if not await self._within(limit, self.roster.stop()):
            self.roster.kill()
            await self._within(limit, self.roster.stop())
        self._gate.stop()
        await _waited(self._ports[0][1].stopListening())
        self.schedule.stop()
        await _waited(self.store.close())
        self._log.flush()

    async def _within(self, seconds: float, done: Deferred[Any]) -> bool:
        try:
            await done.addTimeout(seconds, self._reactor)
        except TimeoutError:
            return False
        return True


def _where(port: IListeningPort) -> str:
    address = port.getHost()
    return f"{address.host}:{address.port}" if isinstance(address, IPv4Address | IPv6Address) else str(address)


async def _waited(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
