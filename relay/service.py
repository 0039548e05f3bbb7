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
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from relay.access.access import Access
from relay.access.users import BadUsers
from relay.bounce.rulefile import BadRules
from relay.channel.journal import left_behind
from relay.children.roster import Roster
from relay.config.schema import Config
from relay.config.secret import SecretUnusable
from relay.dispatch.holds import HoldsUnusable
from relay.intake.listeners import ListenerUnusable
from relay.net.client_tls import TlsUnusable, check_authorities
from relay.net.files import RESERVE, allow_many_files, shortage, spare_files
from relay.net.listening import CannotListen, listen
from relay.net.tls import api_tls
from relay.parts import Parts
from relay.queue.store import QueueUnusable, StoreError

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
        self._starting: Deferred[None] | None = None
        self._access: Access | None = None
        self.parts = Parts(config, reactor)

    # -- start

    def startService(self) -> None:
        """Opens the queue and all ports. Raises StartupError; nothing is left half-started."""
        parts = self.parts
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
        parts.schedule.start()
        if parts.rollups is not None:
            parts.rollups.start()
        parts.keys.start()
        parts.sweeping.start()
        policy = self._config.suppression
        if policy.bounces != "off" or (parts.returns is not None and (policy.complaints or policy.unsubscribes)):
            parts.suppressing.start()
        parts.roster.start([(zone.name, zone.options.processes) for zone in parts.zones.active()])
        parts.receivers.start(parts.reception.places())
        self._start_sending()
        ports = ", ".join(f"{what} on {_where(port)}" for what, port in parts.ports)
        _log.info("ready: {ports}", ports=ports)

    def _open(self) -> None:
        config, parts = self._config, self.parts
        self._look_at_files(allow_many_files())
        check_authorities(config.tls.authorities)
        parts.briefings.read_secrets()
        parts.sinks.make()
        parts.diagnoses.start()
        parts.store.open()
        parts.intake.ids.start_above(parts.store.newest)
        try:
            parts.sinks.start()
        except StoreError as error:
            raise StartupError(f"where sinks were can't be read: {error}") from None
        try:
            parts.suppressions.open()
        except StoreError as error:
            raise StartupError(f"the suppression list can't be read: {error}") from None
        try:
            parts.roll.open()
        except StoreError as error:
            raise StartupError(f"the API's keys can't be read: {error}") from None
        parts.shaping.start()
        if parts.reporter is not None:
            parts.reporter.start()
        access = self._access = self._make_access()
        try:
            parts.log.open(config.logs.mail, Path(config.queue.path))
        except OSError as error:
            raise StartupError(f"the mail log can't be written: {error}") from None
        parts.store.on_writable(parts.dispatcher.resume)
        parts.store.on_broken(parts.dispatcher.hold)
        parts.open_returns()
        self._listen("data channel", config.channel.endpoint, parts.gate)
        parts.listeners.open(access, self._listen)
        self._site = parts.make_site(access)
        try:
            tls = api_tls(config.api, self._reactor.seconds)
        except TlsUnusable as error:
            raise StartupError(f"API: {error}") from None
        factory = self._site if tls is None else tls.before(self._site, self._reactor)
        # A flood of mail leaves room for who wants to look at it, and for children.
        self._listen("API", config.api.endpoint, factory, RESERVE // 2)

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
            access = Access(config.access, self._reactor, self.parts.now, self.parts.roll)
        except BadUsers as error:
            raise StartupError(str(error)) from None
        access.start(Path(config.queue.path) / "quota.json")
        return access

    def _listen(
        self, what: str, endpoint: str, factory: IProtocolFactory, reserve: int = 0, farewell: bytes = b""
    ) -> IListeningPort:
        """`reserve`, `farewell`: see `spare_files`."""
        try:
            port = listen(self._reactor, endpoint, factory)
        except CannotListen as error:
            raise StartupError(f"{what}: {error}") from None
        spare_files(port, self._reactor, reserve, farewell)
        self.parts.ports.append((what, port))
        return port

    def _abort_start(self) -> None:
        for _, port in self.parts.ports:
            port.stopListening()
        if self._access is not None:
            self._access.stop()
        self._stop_reporting()
        self.parts.shaping.stop()
        self.parts.shaping.write()
        self.parts.sinks.stop()
        self.parts.store.close()

    def _start_sending(self) -> None:
        self._starting = Deferred.fromCoroutine(self._begin_to_send())
        # A stop during the start.
        self._starting.addErrback(lambda failure: failure.trap(CancelledError))

    async def _begin_to_send(self) -> None:
        """Settle what an earlier start's children had delivered, then offer: in any case, for
        a doubt about some deliveries must not hold up all others."""
        parts = self.parts
        epoch = f"{parts.roster.epoch:08x}-"
        try:
            journals = [path for path in left_behind(parts.journals) if not path.name.startswith(epoch)]
            await parts.legacy.settle(journals)
        except CancelledError:
            raise
        except Exception:
            _log.failure("journals of earlier starts are kept: some mail may be delivered twice")
        parts.dispatcher.start()

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Drains and stops: within `shutdown_timeout`, and a few seconds more where children
        have to be killed."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        parts = self.parts
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
        parts.jobs.stop()
        parts.schedule.stop()
        if self._access is not None:
            self._access.stop()
        await _waited(parts.suppressing.stop())
        if parts.rollups is not None:
            await _waited(parts.rollups.stop())
        await _waited(parts.shaping.write())
        # A store that can't write down how far they are doesn't have to.
        await self._within(self._reactor.seconds() + _KILLED, parts.sinks.stop())
        await _waited(parts.store.close())
        parts.log.flush()

    async def _stop_taking(self, until: float) -> None:
        parts = self.parts
        ends: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for _, port in parts.ports[1:]]
        ends += parts.listeners.stop()
        ends.append(parts.receivers.stop())
        if not all([await self._within(until, end) for end in ends]):
            _log.warn("clients that did not leave in time are cut off")
        if parts.receivers.children():
            await self._kill(parts.receivers)

    async def _stop_answering(self) -> None:
        self._site.close_connections()

    async def _stop_sending(self, until: float) -> None:
        parts = self.parts
        parts.dispatcher.stop()
        parts.keys.stop()
        parts.sweeping.stop()
        parts.shaping.stop()
        if self._starting is not None:
            self._starting.cancel()
        if await self._within(until, parts.roster.stop()):
            return
        _log.warn("children that did not leave in time are killed")
        if not await self._kill(parts.roster):
            _log.error("killed children have not ended: the next start waits for them")

    def _stop_reporting(self) -> None:
        if self.parts.reporter is not None:
            self.parts.reporter.stop()

    async def _kill(self, roster: Roster) -> bool:
        """Whether all of its children have ended a little later."""
        roster.kill()
        return await self._within(self._reactor.seconds() + _KILLED, roster.stop())

    async def _stop_listening(self) -> None:
        self.parts.gate.stop()
        await _waited(self.parts.ports[0][1].stopListening())

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
