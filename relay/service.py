"""The relay as one Twisted service: started bottom-up, drained and stopped in a written order.

Start: queue, data channel, listeners, API, then the children: senders, and receivers where a
listener has processes of its own. Every failure is one clear line. Mail is accepted at once;
nothing is offered before the journals of an earlier start have been read and whoever still
writes them is gone.

Stop: listeners and receivers (open dots are answered), API, dispatch, senders (final dots are
waited for), channel, queue. `shutdown_timeout` is for all of it; the queue is closed in any case.
"""

from __future__ import annotations

import gc
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from relay.access.access import Access
from relay.access.users import BadUsers
from relay.bounce.rulefile import BadRules
from relay.channel.frames import Hello, TlsResults, Welcome
from relay.channel.gate import Gate
from relay.channel.journal import left_behind
from relay.channel.link import Link
from relay.children.briefings import Briefings
from relay.children.child import Child
from relay.children.roster import Roster
from relay.children.senders import Senders
from relay.config.schema import Config
from relay.config.secret import SecretUnusable
from relay.dispatch.diagnoses import Diagnoses
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.holds import HoldsUnusable
from relay.dispatch.keywatch import KeyWatch
from relay.dispatch.ledger import Ledger
from relay.dispatch.legacy import Legacy
from relay.dispatch.notices import Notices
from relay.dispatch.operator import Operator
from relay.dispatch.results import Results
from relay.dispatch.shaping import Shaping
from relay.dispatch.why import Reasons
from relay.dkim.keys import KeyIndex
from relay.events.rollups import NAME, Rollups
from relay.events.sinks import Sinks
from relay.events.steps import Steps
from relay.events.taker import Means
from relay.intake.listeners import Listeners, ListenerUnusable
from relay.intake.own import OwnMail
from relay.intake.receivers import Receivers
from relay.intake.submission import Intake
from relay.listener.door import Door
from relay.logs.maillog import MailLog
from relay.message.clock import WallClock
from relay.metrics.definitions import Metrics, QueueSize
from relay.net.client_tls import ClientTls, TlsUnusable, check_authorities
from relay.net.dns import Resolver
from relay.net.files import RESERVE, allow_many_files, shortage, spare_files
from relay.net.listening import CannotListen, listen
from relay.net.web import Web
from relay.queue.leases import Leases
from relay.queue.level import LevelStore
from relay.queue.retry import Retry
from relay.queue.schedule import Schedule
from relay.queue.store import QueueUnusable, StoreError
from relay.returns.door import ReturnsDoor
from relay.returns.history import History
from relay.tlsrpt.making import reporter_of
from relay.zone.decision import Decision
from relay.zone.routing import Router
from relay.zone.zones import from_config

if TYPE_CHECKING:
    from relay.returns.desk import Desk

_log = Logger()

#: What a start may find that it can't go on with.
_UNUSABLE = (QueueUnusable, HoldsUnusable, BadRules, ListenerUnusable, TlsUnusable, SecretUnusable, OSError)
#: How long the end of children is waited for that were killed (seconds).
_KILLED = 3.0


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
        self._ports: list[tuple[str, IListeningPort]] = []
        self._starting: Deferred[None] | None = None
        self._access: Access | None = None
        zones = self._zones = from_config(config)
        now = self._now = WallClock()
        log = self._log = MailLog(reactor, now)
        self.metrics = Metrics()
        self.metrics.queue_size = self._queue_size
        self.metrics.pool_size = lambda: self.ledger.idle_connections
        self.metrics.blacklisted = lambda: len(self.shaping.backoff.blacklisted(now()))
        self.store = LevelStore(config.queue.path, config.queue, reactor, config.events)
        steps = self._steps = Steps(config.events.keep > 0, now)
        counted = config.events.keep > 0 and config.events.rollups > 0
        shelf = partial(self.store.shelf, NAME)
        self._rollups = Rollups(self.store, shelf, reactor, now, config.events.rollups) if counted else None
        retry = Retry(config.queue)
        leases = Leases(secrets.randbits(31))
        self.schedule = Schedule(self.store, retry, reactor, now, config.queue.memory)
        self.shaping = Shaping(config, zones, log, reactor, now, deferToThread, self.metrics.decision, self._decided)
        self.intake = Intake(
            store=self.store,
            schedule=self.schedule,
            router=Router(zones),
            keys=KeyIndex(config.dkim.keys, reactor),
            dkim=config.dkim,
            hostname=config.hostname,
            log=log,
            counts=self.metrics,
            now=now,
            names=zones.said(),
            idempotency=config.queue.idempotency,
            urgency=self.shaping.limits.urgency,
            steps=steps,
        )
        notices = Notices(
            config.bounces,
            config.hostname,
            zones,
            self.store,
            OwnMail(self.intake),
            log,
            self.metrics,
            now,
            reactor.seconds,
            steps,
        )
        self._results = Results(self.store, self.schedule, retry, log, self.metrics, now, steps, notices)
        self.diagnoses = Diagnoses(config.bounces.rules, reactor.seconds)
        self.metrics.rules = lambda: self.diagnoses.rules
        self.metrics.stale_rules = lambda: self.diagnoses.stale
        self.ledger = Ledger()
        self.dispatcher = Dispatcher(
            self.store,
            self.schedule,
            leases,
            self.ledger,
            zones,
            self._results,
            self.diagnoses,
            self.metrics,
            reactor,
            self.shaping,
        )
        self.keys = KeyWatch(config.dkim, self.shaping.decided, reactor, now, deferToThread)
        self.dispatcher.bad_key = self.keys.told
        self.dispatcher.tls_results = self._tls_results
        self.metrics.keys = lambda: {"bad": len(self.keys.bad()), "all": self.keys.count}
        self.reasons = Reasons(
            self.store, self.schedule, leases, self.ledger, self.dispatcher.turns, self.diagnoses.of, reactor, now
        )
        self.metrics.waiting = self.reasons.waiting
        self._legacy = Legacy(self.store, self.schedule, self.dispatcher.settle_from_journal, reactor)
        self.operator = Operator(self.store, self.schedule, leases, log, reactor, now, steps)
        self.reporter = reporter_of(config, self.intake, reactor, now, deferToThread)
        self.sinks = self._make_sinks()
        self.metrics.sinks = self.sinks.standings
        welcome = Welcome(leases.epoch, config.channel.heartbeat, config.channel.lease)
        self._journals = Path(config.queue.path) / "journal"
        briefings = self._briefings = Briefings(config, zones, self._secret, self._journals, lambda: self._ports)
        senders = Senders(briefings.sender, self._journals, self.dispatcher)
        self.roster = Roster(reactor, senders, welcome)
        self._reception = Receivers(briefings.receiver, self.metrics.listener_event)
        self.receivers = Roster(reactor, self._reception, welcome)
        self._returns: Desk | None = None
        self._listeners = Listeners(
            config, self.intake, self._reception, self.metrics, reactor, now, self._returns_door
        )
        self._gate = Gate(self._secret, self._admit, reactor)

    # -- start

    def startService(self) -> None:
        """Opens the queue and all ports. Raises StartupError; nothing is left half-started."""
        try:
            self._open()
        except _UNUSABLE as error:
            self._abort_start()
            raise StartupError(str(error)) from None
        except BaseException:
            self._abort_start()
            raise
        super().startService()
        # What the start has made stays; mail makes no cycles to speak of.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self.schedule.start()
        if self._rollups is not None:
            self._rollups.start()
        self.keys.start()
        self.roster.start([(zone.name, zone.options.processes) for zone in self._zones.active()])
        self.receivers.start(self._reception.places())
        self._start_sending()
        ports = ", ".join(f"{what} on {_where(port)}" for what, port in self._ports)
        _log.info("ready: {ports}", ports=ports)

    def _open(self) -> None:
        config = self._config
        self._look_at_files(allow_many_files())
        check_authorities(config.tls.authorities)
        self._briefings.read_secrets()
        self.sinks.make()
        self.diagnoses.start()
        self.store.open()
        self.intake.ids.start_above(self.store.newest)
        self.sinks.start()
        self.shaping.start()
        if self.reporter is not None:
            self.reporter.start()
        access = self._access = self._make_access()
        try:
            self._log.open(config.logs.mail, Path(config.queue.path))
        except OSError as error:
            raise StartupError(f"the mail log can't be written: {error}") from None
        self.store.on_writable(self.dispatcher.resume)
        self.store.on_broken(self.dispatcher.hold)
        self._returns = self._make_returns()
        self._listen("data channel", config.channel.endpoint, self._gate)
        self._listeners.open(access, self._listen)
        from relay.http.bounces import BouncesApi
        from relay.http.events import EventsApi
        from relay.http.operator import Standing
        from relay.http.rollups import RollupsApi
        from relay.http.shaping import resources
        from relay.http.sinks import SinksApi
        from relay.http.site import make_site  # Klein installs a reactor when imported.
        from relay.http.tls_reports import TlsReportsApi
        from relay.http.unsubscribe import UnsubscribeApi

        zones = self._zones
        self._site = make_site(
            config.api,
            hostname=config.hostname,
            demo_login=config.access.demo,
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
            more=(
                *resources(self.shaping, self.reasons, self.keys, zones, self._reactor, self._now),
                TlsReportsApi(self.reporter),
                EventsApi(self.store, self._reactor, self._now, config.events.keep),
                RollupsApi(self._rollups, self._reactor, self._now),
                SinksApi(self.sinks.standings),
                BouncesApi(),
                UnsubscribeApi(self._returns, self._reactor.seconds),
            ),
        )
        # A flood of mail leaves room for who wants to look at it, and for children.
        self._listen("API", config.api.endpoint, self._site, RESERVE // 2)

    def _look_at_files(self, limit: int) -> None:
        config = self._config
        connections = config.api.max_connections + sum(
            section.max_connections for section in config.listeners.values() if not section.processes
        )
        line = shortage(connections, limit)
        if line:
            _log.warn("{line}", line=line)

    def _make_access(self) -> Access:
        config = self._config
        try:
            access = Access(config.access, self._reactor, self._now)
        except BadUsers as error:
            raise StartupError(str(error)) from None
        access.start(Path(config.queue.path) / "quota.json")
        return access

    def _make_sinks(self) -> Sinks:
        config, reactor = self._config, self._reactor
        names = Resolver(reactor, config.dns)
        tls = ClientTls(config.tls.authorities)
        web = Web(reactor, names, tls)

        def addresses(host: str) -> Deferred[list[str]]:
            return Deferred.fromCoroutine(names.addresses(host, (4, 6)))

        means = Means(reactor, self._now, config.hostname, deferToThread, web, addresses, tls.to)
        return Sinks(config, self.store, means)

    def _make_returns(self) -> Desk | None:
        """Where what comes back is taken, where there are addresses for it."""
        section = self._config.returns
        if not section.domain:
            return None
        from relay.returns.making import desk_of  # It reads mail with what takes some megabytes.

        return desk_of(
            section,
            self._briefings.return_secrets,
            History(self.store, self._now),
            self.intake,
            judge=self.diagnoses.of,
            log=self._log,
            counts=self.metrics,
            now=self._now,
            in_thread=deferToThread,
        )

    def _returns_door(self, front: Door) -> Door:
        assert self._returns is not None, "no listener is for what comes back without a domain"
        return ReturnsDoor(front, self._returns, self.intake.ids.next)

    def _listen(
        self, what: str, endpoint: str, factory: IProtocolFactory, reserve: int = 0, farewell: bytes = b""
    ) -> IListeningPort:
        """`reserve`, `farewell`: see `spare_files`."""
        try:
            port = listen(self._reactor, endpoint, factory)
        except CannotListen as error:
            raise StartupError(f"{what}: {error}") from None
        spare_files(port, self._reactor, reserve, farewell)
        self._ports.append((what, port))
        return port

    def _abort_start(self) -> None:
        for _, port in self._ports:
            port.stopListening()
        if self._access is not None:
            self._access.stop()
        self._stop_reporting()
        if self._rollups is not None:
            self._rollups.stop()
        self.shaping.stop()
        self.shaping.write()
        self.sinks.stop()
        self.store.close()

    def _admit(self, hello: Hello, link: Link) -> Child | None:
        return self.roster.admit(hello, link) or self.receivers.admit(hello, link)

    def _start_sending(self) -> None:
        self._starting = Deferred.fromCoroutine(self._begin_to_send())
        # A stop during the start.
        self._starting.addErrback(lambda failure: failure.trap(CancelledError))

    async def _begin_to_send(self) -> None:
        """Settle what an earlier start's children had delivered, then offer: in any case, for
        a doubt about some deliveries must not hold up all others."""
        epoch = f"{self.roster.epoch:08x}-"
        try:
            journals = [path for path in left_behind(self._journals) if not path.name.startswith(epoch)]
            await self._legacy.settle(journals)
        except CancelledError:
            raise
        except Exception:
            _log.failure("journals of earlier starts are kept: some mail may be delivered twice")
        self.dispatcher.start()

    def _tls_results(self, told: TlsResults) -> None:
        self.metrics.tls_results(told.counts)
        if self.reporter is not None:
            self.reporter.count(told.counts)

    def _decided(self, decision: Decision) -> None:
        events = self._steps.decided(decision)
        if not events:
            return
        try:
            told = self.store.tell(events)
        except StoreError as error:  # There is no queue yet, or no more.
            _log.warn("a decision is in no event: {error}", error=str(error))
            return
        told.addErrback(lambda failure: _log.warn("a decision is in no event: {error}", error=str(failure.value)))

    def _queue_size(self) -> QueueSize:
        counts = [self.store.count(zone, self._now()) for zone in self.store.zones()]
        return QueueSize(sum(count.queued for count in counts), sum(count.deferred for count in counts))

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Drains and stops: within `shutdown_timeout`, and a few seconds more where children
        have to be killed."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        begun, limit = self._reactor.seconds(), self._config.shutdown_timeout
        for step in (
            # A client that is cut off sends again; of a child that is, hosts may get second
            # copies. So the children have at least half of the time.
            lambda: self._stop_taking(begun + limit / 2),
            self._stop_answering,
            lambda: self._stop_sending(begun + limit),
            self._stop_listening,
        ):
            try:
                await step()
            except Exception:  # a CancelledError too: the queue is closed in any case
                _log.failure("trouble while stopping; the stop goes on")
        self._stop_reporting()
        self.schedule.stop()
        if self._access is not None:
            self._access.stop()
        await _waited(self.shaping.write())
        if self._rollups is not None:
            await _waited(self._rollups.stop())
        # A store that can't write down how far they are doesn't have to.
        await self._within(self._reactor.seconds() + _KILLED, self.sinks.stop())
        await _waited(self.store.close())
        self._log.flush()

    async def _stop_taking(self, until: float) -> None:
        ends: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for _, port in self._ports[1:]]
        ends += self._listeners.stop()
        ends.append(self.receivers.stop())
        if not all([await self._within(until, end) for end in ends]):
            _log.warn("clients that did not leave in time are cut off")
        if self.receivers.children():
            await self._kill(self.receivers)

    async def _stop_answering(self) -> None:
        self._site.close_connections()

    async def _stop_sending(self, until: float) -> None:
        self.dispatcher.stop()
        self.keys.stop()
        self.shaping.stop()
        if self._starting is not None:
            self._starting.cancel()
        if await self._within(until, self.roster.stop()):
            return
        _log.warn("children that did not leave in time are killed")
        if not await self._kill(self.roster):
            _log.error("killed children have not ended: the next start waits for them")

    def _stop_reporting(self) -> None:
        if self.reporter is not None:
            self.reporter.stop()

    async def _kill(self, roster: Roster) -> bool:
        """Whether all of its children have ended a little later."""
        roster.kill()
        return await self._within(self._reactor.seconds() + _KILLED, roster.stop())

    async def _stop_listening(self) -> None:
        self._gate.stop()
        await _waited(self._ports[0][1].stopListening())

    async def _within(self, until: float, done: Deferred[Any]) -> bool:
        """Whether it came before the reactor's clock says `until`; else it is cancelled."""
        try:
            await done.addTimeout(max(0.0, until - self._reactor.seconds()), self._reactor)
        except defer.TimeoutError:  # not Python's own
            return False
        return True


def _where(port: IListeningPort) -> str:
    address = port.getHost()
    return f"{address.host}:{address.port}" if isinstance(address, IPv4Address | IPv6Address) else str(address)


async def _waited(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
