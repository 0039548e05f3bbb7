"""A listening socket that several processes have: who binds it, and who accepts on it.

The master binds it, so that a port that is taken is told at its start, and keeps it open while
receivers come and go; clients wait in its backlog meanwhile. It is one socket of the system:
nobody may shut it down, as Twisted does when a port stops, only close it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocolFactory


def hold(port: Any) -> None:
    """Keep a port of Twisted's that listens open for others, and accept nothing on it."""
    port.stopReading()
    port._shouldShutdown = False


def adopt(reactor: Any, descriptor: int, factory: IProtocolFactory) -> Any:
    """Accept clients on a listening socket that was inherited; gives the port. The descriptor is
    closed, the port has one of its own."""
    with socket.socket(fileno=descriptor) as inherited:
        if inherited.family is not socket.AF_UNIX:
            return reactor.adoptStreamPort(descriptor, inherited.family, factory)
        port: Any = _SharedPath._fromListeningDescriptor(reactor, descriptor, factory)
    port.startListening()
    return port


class _SharedPath(unix.Port):
    """A port whose file is another's: its mode is left as it is, and the file when it is closed."""

    def startListening(self) -> None:
        tcp.Port.startListening(self)

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
