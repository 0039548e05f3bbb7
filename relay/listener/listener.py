"""SMTP listeners: who may connect, how many at once, how long, and how it all ends."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from relay.config.schema import Listener
from relay.listener.connection import LINGER, SHUTDOWN, Connection
from relay.listener.door import Door
from relay.listener.happening import Observe
from relay.listener.room import SESSION, TOO_BUSY, Room
from relay.listener.session import ListenerProtocol
from relay.listener.watch import LONGEST, Watch
from relay.message.clock import WallClock
from relay.net.tls import ServerTls
from relay.smtp.reply import Reply, reply

#: Client addresses remembered with what they may do.
_CLIENTS = 10_000
#: How often it is seen whose time has come (seconds): the precision of all time-outs.
SWEEP = 1.0

TOO_MANY_CONNECTIONS = reply(421, "4.7.0 Too many connections, try again later")


class TurnedAway(Protocol):
    """A client too many, or too late. It is cut off when it doesn't go: with TLS it has to say farewell too."""

    transport: Any

    def __init__(self, reason: Reply, later: Callable[[float, Callable[[], None]], IDelayedCall]) -> None:
        self._reason = reason
        self._later = later
        self._patience: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.transport.write(self._reason.encode())
        self.transport.loseConnection()
        self._patience = self._later(LINGER, self._cut)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _cut(self) -> None:
        self._patience = None
        self.transport.abortConnection()


class ListenerFactory(ServerFactory):
    """One listener and its sessions.

    Attributes:
        now: the time of the last sweep, in the clock's seconds.
        room: what the sessions hold in memory.
        stopping: `stop` was called.
        tls: None when no TLS can be offered.
        wall: milliseconds since the epoch.
        later: calls a function after so many seconds.
        watch: when the sessions are looked at.
    """

    noisy = False

    def __init__(
        self,
        config: Listener,
        name: str,
        hostname: str,
        door: Door,
        clock: IReactorTime,
        observe: Observe = lambda happening: None,
        tls: ServerTls | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        """`name` is the listener's in the configuration, `tls` what it can offer, `now` the wall
        clock in milliseconds since the epoch.

        Raises:
            ValueError: `allow_networks` has something that is no network.
        """
        self.config = config
        self.name = name
        self.hostname = hostname
        self.door = door
        self.observe = observe
        self.tls = tls
        self.wall = WallClock() if now is None else now
        self.later = clock.callLater
        self.stopping = False
        self.now = clock.seconds()
        self._clients: dict[str, tuple[str, bool]] = {}
        self._networks = [ip_network(text, strict=False) for text in config.allow_networks]
        self._trusted = [ip_network(text, strict=False) for text in config.xclient_networks]
        self._sessions: set[Connection] = set()
        self.room = Room(config.max_memory, name, self._sessions, clock)
        self.watch = Watch(min(LONGEST, config.timeout, config.data_timeout), self.now)
        self._clock = clock
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = clock
        self._stopped: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        if self.stopping:
            reason = SHUTDOWN
        elif len(self._sessions) >= self.config.max_connections:
            # The door would say so too. But those many whom it need not be asked about are cheap.
            reason = TOO_MANY_CONNECTIONS
        elif self.room.crowded:
            reason = TOO_BUSY
        else:
            return ListenerProtocol(self)
        self.observe("turned_away")
        return TurnedAway(reason, self.later)

    def stop(self) -> Deferred[None]:
        """Take no further message, tell every client, and fire once the last one is gone.

        A message whose text is under way gets its verdict first. Cancelling the Deferred
        cuts off whoever is left.
        """
        self.stopping = True
        stopped: Deferred[None] = Deferred(self._cut_off)
        self._stopped.append(stopped)
        for session in list(self._sessions):
            session.shut_down()
        self._settle()
        return stopped

    def client(self, host: str) -> tuple[str, bool]:
        """The address of a client, and whether it may send mail to anywhere: we are no open relay."""
        known = self._clients.get(host)
        if known is None:
            if len(self._clients) >= _CLIENTS:
                self._clients.clear()
            address = _plain(host)
            allowed = any(address in network for network in self._networks)
            known = self._clients[host] = (str(address), allowed)
        return known

    def trusts(self, host: str) -> bool:
        """Whether a client at this address may say by XCLIENT for whom it speaks."""
        return bool(self._trusted) and any(_plain(host) in network for network in self._trusted)

    def joined(self, session: Connection) -> None:
        """A session has begun."""
        self._sessions.add(session)
        self.room.change(SESSION)
        self.observe("connected")
        if not self._sweeper.running:
            self.now = self._clock.seconds()
            self._sweeper.start(SWEEP, now=False)
        self.watch.begin(session, self.now)

    def left(self, session: Connection) -> None:
        """Its connection is gone; nothing for one that hasn't joined."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self.watch.end(session)
        self.room.forget(session)
        self.room.change(-SESSION)
        self.observe("disconnected")
        self._settle()

    def _sweep(self) -> None:
        self.now = self._clock.seconds()
        self.watch.look(self.now)
        self.room.look()
        if not self._sessions and self._sweeper.running:
            self._sweeper.stop()

    def _cut_off(self, stopped: Deferred[None]) -> None:
        for session in list(self._sessions):
            session.abort()

    def _settle(self) -> None:
        if self.stopping and not self._sessions:
            if self._sweeper.running:
                self._sweeper.stop()
            waiting, self._stopped = self._stopped, []
            for stopped in waiting:
                if not stopped.called:  # it may have been cancelled
                    stopped.callback(None)


def _plain(host: str) -> IPv4Address | IPv6Address:
    """An IPv4 address that came by IPv6 is an IPv4 address."""
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
