"""The twistd subcommand: `twistd -n zonerelay start --config etc/zonerelay.toml`.

makeService reads the configuration and builds the tree, and opens nothing: twistd forks
into the background afterwards, and neither the queue's lock nor a socket is to be taken
before that. The console script `zonerelay` starts by the same makeService.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.application.service import IService
from twisted.python import usage

from relay.config.load import DEFAULT_FILE, ConfigError, load
from relay.startup import LoudStart

if TYPE_CHECKING:
    from collections.abc import Mapping


class StartOptions(usage.Options):
    """What follows the word `start`."""

    synopsis = "start [--config FILE]"
    optParameters = [["config", "c", DEFAULT_FILE, "the configuration file"]]  # noqa: RUF012


class Options(usage.Options):
    """What follows the word `zonerelay`: the one word `start` and its options."""

    synopsis = "[twistd options] zonerelay start [--config FILE]"
    subCommands = [["start", None, StartOptions, "Start the relay."]]  # noqa: RUF012

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise usage.UsageError("expected the word start: twistd zonerelay start")


def makeService(options: Options) -> IService:
    """The relay as a service that is not started yet.

    Configuration errors go to standard error, a line each, and end the process with code 1:
    twistd has no better answer to them here than a traceback.
    """
    try:
        config = load(options.subOptions["config"])
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error

    from twisted.internet import reactor

    from relay.net.reactor import prepare
    from relay.service import RelayService, StartupError

    prepare(reactor)
    quiet = _logs_to_terminal(options.parent)
    return LoudStart(RelayService(config, reactor), StartupError, quiet, reactor.callWhenRunning)


def _logs_to_terminal(twistd: Mapping[str, object] | None) -> bool:
    """Whether the log goes where the line on standard error is seen anyway."""
    return twistd is None or bool(twistd["nodaemon"] and not twistd["logfile"])


def console() -> int:
    """The console script `zonerelay`; returns its exit code."""
    from relay.cli.main import main

    return main(sys.argv[1:], start=_start)


def _start(config: str) -> IService:
    options = Options()
    options.parseOptions(["start", "--config", config])
    return makeService(options)
