"""Why a connection could not be made, in words."""

from __future__ import annotations

import os

from twisted.internet import error


class ProxyFailed(Exception):
    """There is no way through the proxy; nothing is said of the far host. The text is fit to be shown."""


def words(problem: BaseException | None) -> str:
    """What to say of an error that Twisted gives, or of ProxyFailed."""
    if isinstance(problem, ProxyFailed):
        return str(problem)
    if isinstance(problem, error.ConnectBindError):
        return "Can't use the local address"
    if isinstance(problem, (error.TimeoutError, error.TCPTimedOutError)):
        return "Connecting timed out"
    if isinstance(problem, error.ConnectionRefusedError):
        return "Connection refused"
    if isinstance(problem, error.NoRouteError):
        return "No route to host"
    number = getattr(problem, "osError", None)
    return f"Can't connect: {os.strerror(number) if isinstance(number, int) else problem}"
