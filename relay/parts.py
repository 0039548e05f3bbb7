"""What the relay is made of, and what each part is given of the others. Nothing is opened or started here."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from relay.access.access import Access
from relay.access.roll import Roll
from relay.channel.frames import Hello, TlsResults, Welcome
from relay.channel.gate import Gate
from relay.channel.link import Link
from relay.children.briefings import Briefings
from relay.children.child import Child
from relay.children.roster import Roster
from relay.children.senders import Senders
from relay.config.schema import Config
from relay.dispatch.diagnoses import Diagnoses
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.jobs import Jobs
from relay.dispatch.keywatch import KeyWatch
from relay.dispatch.ledger import Ledger
from relay.dispatch.legacy import Legacy
from relay.dispatch.notices import Notices
from relay.dispatch.operator import Operator
from relay.dispatch.results import Results
from relay.dispatch.shaping import Shaping
from relay.dispatch.why import Reasons
from relay.dkim.keys import KeyIndex
from relay.events.reader import Reader
from relay.events.rollups import NAME, Rollups
from relay.events.sinks import Sinks
from relay.events.steps import Steps
from relay.events.taker import Means
from relay.events.verdicts import Verdicts
from relay.intake.heed import Heed
from relay.intake.listeners import Listeners
from relay.intake.own import OwnMail
from relay.intake.receivers import Receivers
from relay.intake.submission import Intake
from relay.listener.door import Door
from relay.logs.maillog import MailLog
from relay.measured import Measured
from relay.message.clock import WallClock
from relay.metrics.definitions import Metrics, QueueSize
from relay.net.client_tls import ClientTls
from relay.net.dns import Resolver
from relay.net.web import Web
from relay.queue.leases import Leases
from relay.queue.level import LevelStore
from relay.queue.retry import Retry
from relay.queue.schedule import Schedule
from relay.queue.search import Search
from relay.queue.store import StoreError
from relay.returns.door import ReturnsDoor
from relay.returns.history import History
from relay.shelf import Shelf
from relay.suppression.policy import SOURCES
from relay.suppression.suppressions import Suppressions
from relay.suppression.sweeping import Sweeping
from relay.suppression.taking import Taking
from relay.tlsrpt.making import reporter_of
from relay.zone.decision import Decision
from relay.zone.routing import Router
from relay.zone.zones import from_config

if TYPE_CHECKING:
    from relay.returns.desk import Desk

_log = Logger()


class Parts:
    """All parts of one relay. `ports` are those that are listened at, with what they are for; the data channel's is
    the first."""

    def __init__(self, config: Config, reactor: Any) -> None:
        """Opens nothing: the queue must not be open when the process daemonises."""
        self._config = config
        self._reactor = reactor
        secret = secrets.token_urlsafe(32)
        self.ports: list[tuple[str, IListeningPort]] = []
        zones = self.zones = from_config(config)
        now = self.now = WallClock()
        log = self.log = MailLog(reactor, now)
        self.metrics = Metrics(now)
        self.metrics.queue_size = self._queue_size
        self.metrics.pool_size = lambda: self.ledger.idle_connections
        self.metrics.blacklisted = lambda: len(self.shaping.backoff.blacklisted(now()))
        self.store = LevelStore(config.queue.path, config.queue, reactor, config.events, now=now)
        steps = self.steps = Steps(config.events.keep > 0, now, zones.protocol)
        self.verdicts = Verdicts(self.store, reactor) if config.events.keep else None
        self.rollups: Rollups | None = None
        if config.events.keep and config.events.rollups:
            shelf = partial(self.store.shelf, NAME)
            self.rollups = Rollups(self.store, shelf, reactor, now, config.events.rollups)
        retry = Retry(config.queue)
        leases = Leases(secrets.randbits(31))
        self.schedule = Schedule(self.store, retry, reactor, now, config.queue.memory)
        self.shaping = Shaping(config, zones, log, reactor, now, deferToThread, self.metrics.decision, self._decided)
        self.suppressions = Suppressions(self.store.shelf("suppression"), now)
        self.metrics.suppressions = lambda: self.suppressions.count
        self.sweeping = Sweeping(self.suppressions, reactor)
        self.roll = Roll(self.store.shelf("access"), now)
        # Who has bounced or complained is read of what has happened, where the policy heeds it.
        taking = Taking(self.suppressions, config.suppression)
        self.suppressing = Reader(
            "suppression", self.store, self._cursors, taking.take, reactor, kinds=frozenset(SOURCES)
        )
        heed = Heed(config.suppression.at_submission, self.suppressions)
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
            heed=heed,
            names=zones.said(),
            idempotency=config.queue.idempotency,
            urgency=self.shaping.limits.urgency,
            steps=steps,
            seconds=reactor.seconds,
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
        self.results = Results(self.store, self.schedule, retry, log, self.metrics, now, steps, notices)
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
            self.results,
            self.diagnoses,
            self.metrics,
            reactor,
            self.shaping,
            self.suppressions,
        )
        self.keys = KeyWatch(config.dkim, self.shaping.decided, reactor, now, deferToThread)
        self.dispatcher.bad_key = self.keys.told
        self.dispatcher.tls_results = self._tls_results
        self.metrics.keys = lambda: {"bad": len(self.keys.bad()), "all": self.keys.count}
        self.reasons = Reasons(
            self.store, self.schedule, leases, self.ledger, self.dispatcher.turns, self.diagnoses.of, reactor, now
        )
        self.metrics.waiting = self.reasons.waiting
        self.legacy = Legacy(self.store, self.schedule, self.dispatcher.settle_from_journal, reactor)
        self.operator = Operator(self.store, self.schedule, leases, self.results, log, reactor, now, steps)
        self.search = Search(self.store, self.schedule, leases.names, self.shaping.site_of, now)
        self.jobs = Jobs(self.search, self.operator, self.store, reactor, now)
        self.reporter = reporter_of(config, self.intake, reactor, now, deferToThread)
        self.sinks = self._make_sinks()
        self.metrics.sinks = self.sinks.standings
        welcome = Welcome(leases.epoch, config.channel.heartbeat, config.channel.lease)
        self.journals = Path(config.queue.path) / "journal"
        briefings = self.briefings = Briefings(config, zones, secret, self.journals, lambda: self.ports)
        senders = Senders(briefings.sender, self.journals, self.dispatcher)
        self.roster = Roster(reactor, senders, welcome)
        self.reception = Receivers(briefings.receiver, heed, self.metrics.listener_event)
        self.receivers = Roster(reactor, self.reception, welcome)
        Measured(
            self.store,
            self.schedule,
            zones,
            self.ledger,
            self.shaping.backoff,
            {"sender": self.roster, "receiver": self.receivers},
            config.queue.min_free,
            now,
        ).tell(self.metrics.gauges, self.metrics.latencies)
        self.returns: Desk | None = None
        self.listeners = Listeners(
            config, self.intake, self.reception, self.metrics, reactor, now, self._returns_door
        )
        self.gate = Gate(secret, self._admit, reactor)

    def make_site(self, access: Access) -> Any:
        """The API. It is made late, for Klein installs a reactor when it is imported."""
        config, zones = self._config, self.zones
        from relay.http.actions import ActionsApi
        from relay.http.apikeys import ApiKeysApi
        from relay.http.audit import Audit
        from relay.http.bounces import BouncesApi
        from relay.http.events import EventsApi
        from relay.http.live import LiveApi
        from relay.http.operator import Standing
        from relay.http.queuesearch import QueueSearchApi
        from relay.http.rollups import RollupsApi
        from relay.http.sessions import SessionsApi
        from relay.http.shaping import resources
        from relay.http.sinks import SinksApi
        from relay.http.site import make_site
        from relay.http.state import Sources, StateApi
        from relay.http.stored import StoredApi
        from relay.http.suppression_import import ImportApi
        from relay.http.suppressionlist import SuppressionListApi
        from relay.http.suppressions import SuppressionsApi
        from relay.http.tenants import MembersApi, TenantsApi
        from relay.http.tls_reports import TlsReportsApi
        from relay.http.traffic import TrafficApi
        from relay.http.unsubscribe import UnsubscribeApi
        from relay.http.users import UsersApi

        return make_site(
            config.api,
            hostname=config.hostname,
            admission=access.admission,
            audit=Audit(self.steps, self.store.tell),
            demo_login=config.access.demo,
            intake=self.intake,
            once=self.intake.once,
            verdicts=self.verdicts,
            zones=lambda: [zone.name for zone in zones.active()],
            store=self.store,
            operator=self.operator,
            standing=Standing(
                self.now(),
                lambda: [(name, zones[name].options.disabled) for name in zones.names()],
                self.metrics.processed,
            ),
            metrics=self.metrics,
            reactor=self._reactor,
            now=self.now,
            more=(
                *resources(self.shaping, self.reasons, self.store, self.keys, zones, self._reactor, self.now),
                StateApi(
                    Sources(
                        zones,
                        self.ledger,
                        self.store.count,
                        self.metrics.processed,
                        self.now,
                        self.store.writable,
                        self.store.accepting,
                    )
                ),
                TrafficApi(self.ledger, self.shaping.limits.gates, self._reactor.seconds),
                QueueSearchApi(self.search, self.store, self._reactor, self.now),
                StoredApi(self.store, self.search, self.reasons, self._reactor, config.api.timeout),
                ActionsApi(
                    self.operator,
                    self.jobs,
                    self.store,
                    lambda: [zone.name for zone in zones.active()],
                    self._reactor,
                    self.now,
                    config.api.allow_routing_headers,
                ),
                TlsReportsApi(self.reporter),
                EventsApi(self.store, self._reactor, self.now, config.events.keep),
                LiveApi(
                    self.store,
                    zones.names,
                    self.metrics.totals,
                    self.ledger.states,
                    self._reactor,
                    self.now,
                    config.api.timeout,
                ),
                RollupsApi(self.rollups, self._reactor, self.now),
                SinksApi(self.sinks),
                BouncesApi(),
                UnsubscribeApi(self.returns, self._reactor.seconds),
                SuppressionListApi(self.suppressions, self._reactor),
                SuppressionsApi(self.suppressions, self._reactor, self.now, config.api.timeout),
                ImportApi(self.suppressions, self.now),
                ApiKeysApi(self.roll, self.now),
                UsersApi(access.directory),
                TenantsApi(self.roll),
                MembersApi(self.roll, access),
                SessionsApi(self.roll, access),
            ),
        )

    def _make_sinks(self) -> Sinks:
        config, reactor = self._config, self._reactor
        names = Resolver(reactor, config.dns)
        tls = ClientTls(config.tls.authorities)
        web = Web(reactor, names, tls)

        def addresses(host: str) -> Deferred[list[str]]:
            return Deferred.fromCoroutine(names.addresses(host, (4, 6)))

        means = Means(reactor, self.now, config.hostname, deferToThread, web, addresses, tls.to)
        return Sinks(config, self.store, means)

    def open_returns(self) -> None:
        """Take what comes back, where there are addresses for it: once their secrets are read."""
        section = self._config.returns
        if not section.domain:
            return
        from relay.returns.making import desk_of  # It reads mail with what takes some megabytes.

        self.returns = desk_of(
            section,
            self.briefings.return_secrets,
            History(self.store, self.now),
            self.intake,
            judge=self.diagnoses.of,
            zone=self._config.bounces.zone,
            log=self.log,
            counts=self.metrics,
            now=self.now,
            in_thread=deferToThread,
        )

    def _returns_door(self, front: Door) -> Door:
        assert self.returns is not None, "no listener is for what comes back without a domain"
        return ReturnsDoor(front, self.returns, self.intake.ids.next)

    def _admit(self, hello: Hello, link: Link) -> Child | None:
        return self.roster.admit(hello, link) or self.receivers.admit(hello, link)

    def _tls_results(self, told: TlsResults) -> None:
        self.metrics.tls_results(told.counts)
        if self.reporter is not None:
            self.reporter.count(told.counts)

    def _cursors(self) -> Shelf:
        """Where readers of events keep how far they are."""
        return self.store.shelf("readers")

    def _decided(self, decision: Decision) -> None:
        events = self.steps.decided(decision)
        if not events:
            return
        try:
            told = self.store.tell(events)
        except StoreError as error:  # There is no queue yet, or no more.
            _log.warn("a decision is in no event: {error}", error=str(error))
            return
        told.addErrback(lambda failure: _log.warn("a decision is in no event: {error}", error=str(failure.value)))

    def _queue_size(self) -> QueueSize:
        counts = [self.store.count(zone, self.now()) for zone in self.store.zones()]
        return QueueSize(sum(count.queued for count in counts), sum(count.deferred for count in counts))
