"""Opening the ports of the relay: at once, or with one line that says why not."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from relay.config import endpoints


class CannotListen(Exception):
    """The endpoint can't be listened on; the text is the reason."""


def listen(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
    """Listen on `endpoint`, a string of the configuration. Raises CannotListen."""
    try:
        known = endpoints.read(endpoint)
    except ValueError as error:
        raise CannotListen(f"can't listen on {endpoint}: {error}") from None
    try:
        if known.path:
            with _alone(known.path):
                _remove_if_stale(known.path)
                return _open(reactor, endpoint, factory)
        return _open(reactor, endpoint, factory)
    except CannotListen as error:
        raise CannotListen(f"can't listen on {endpoint}: {error}") from None


def _open(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
    came: list[Any] = []
    try:
        server = serverFromString(reactor, endpoints.complete(endpoint))
    except Exception as error:  # parsers are plugins and raise what they like
        if endpoint.startswith("systemd:"):
            raise CannotListen("systemd has passed no such socket to this process") from error
        raise CannotListen(str(error)) from error
    server.listen(factory).addBoth(came.append)
    port = came[0] if came else Failure(OSError("the endpoint did not listen at once"))
    if isinstance(port, Failure):
        raise CannotListen(port.getErrorMessage())
    found: IListeningPort = port
    return found


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Nobody else looks at that socket, or begins to listen to it, meanwhile."""
    try:
        lock = open(path + ".start", "a")
    except OSError as error:
        raise CannotListen(f"{path}.start: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotListen("another process is about to") from None
        yield


def _remove_if_stale(path: str) -> None:
    """Remove a socket to which nobody listens: its process was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CannotListen("there is a file of that name that is no socket")
        if not _is_heard(path):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotListen(str(error.strerror)) from None
    raise CannotListen("somebody listens to it")


def _is_heard(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # as many wait already as may
            return True
    return True
