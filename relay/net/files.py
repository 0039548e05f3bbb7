"""File descriptors: as many as the system gives, and some of them never for clients.

A process that has none left can't open its queue's files, start a child or log; and a port
that can't accept is ready again at once, for ever, at full speed. So a listening socket here
sends clients away while there are still a few descriptors, and rests a second when it finds none.
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
from typing import Any

from twisted.logger import Logger

_log = Logger()

#: Descriptors that clients of a listener leave to everything else.
RESERVE = 32
#: How long a port rests that got none (seconds), and how often that is logged at most.
REST = 1.0
LOG_EVERY = 60.0
#: Connections that may wait to be accepted; the system has a limit of its own.
BACKLOG = 1024
#: Connections accepted in one turn of the reactor: others have theirs.
_IN_A_TURN = 32
#: Files that a master has open besides its clients, roughly.
OVERHEAD = 96

_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def allow_many_files() -> int:
    """Take what the system gives; how many files may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _limit()


def _limit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


class ListeningSocket(socket.socket):
    """In place of the socket of a listening port.

    Its `accept` raises BlockingIOError, which ends the port's turn, where there is nobody, or
    nothing to serve them with.
    """

    def __init__(self, port: Any, reactor: Any, reserve: int, farewell: bytes) -> None:
        super().__init__(fileno=port.socket.detach())
        self.setblocking(False)
        self.listen(BACKLOG)
        self._port = port
        self._reactor = reactor
        self._reserve = reserve
        self._farewell = farewell
        self._turn = 0
        self._told = -LOG_EVERY

    def accept(self) -> tuple[socket.socket, Any]:
        """The next client that can be served."""
        limit = _limit()  # It can be changed while we run.
        last = limit - min(self._reserve, limit // 4)
        while self._turn < _IN_A_TURN:
            self._turn += 1
            try:
                client, address = super().accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _NONE_LEFT:
                    raise
                self._rest(error)
                break
            # The lowest number that is free is given: those below are nearly all taken.
            if client.fileno() < last:
                return client, address
            self._send_away(client)
        self._turn = 0
        raise BlockingIOError(errno.EWOULDBLOCK, "nobody to be served now")

    def _send_away(self, client: socket.socket) -> None:
        self._tell("clients are sent away, nearly all file descriptors are in use")
        try:
            client.setblocking(False)
            client.send(self._farewell)
        except OSError:
            pass  # It is gone already.
        client.close()

    def _rest(self, error: OSError) -> None:
        self._tell(f"clients have to wait: {error.strerror}")
        self._port.stopReading()
        self._reactor.callLater(REST, self._go_on)

    def _go_on(self) -> None:
        if self._port.connected and not self._port.disconnecting:
            self._port.startReading()

    def _tell(self, what: str) -> None:
        now = self._reactor.seconds()
        if now - self._told >= LOG_EVERY:
            self._told = now
            _log.warn("{where}: {what}", where=self.getsockname(), what=what)


def spare_files(port: Any, reactor: Any, reserve: int = RESERVE, farewell: bytes = b"") -> None:
    """Make a port of Twisted's that listens leave `reserve` descriptors to others.

    `farewell` is what clients are told that can't be served.
    """
    port.socket = careful = ListeningSocket(port, reactor, reserve, farewell)
    port.fileno = careful.fileno


def shortage(connections: int, limit: int) -> str:
    """One line when so many connections don't fit under a limit of open files; else ""."""
    need = connections + RESERVE + OVERHEAD
    if need <= limit:
        return ""
    return (
        f"max_connections allow {connections} connections, which need {need} open files; the limit is {limit} "
        "(ulimit -Hn, LimitNOFILE): clients beyond it are sent away with 421"
    )
