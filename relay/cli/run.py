"""`zonerelay run`: the relay in the foreground, its log on standard output, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import sys

from relay.cli.command import Command, Start, config_argument
from relay.startup import Refused


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0 after a clean stop, 1 when the relay did not start (said in one line)."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner, textFileLogObserver

    service = start(arguments.config)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    try:
        service.privilegedStartService()
        service.startService()
    except Refused:
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()  # installs the handlers of SIGTERM and SIGINT, which stop it
    return 0


COMMAND = Command("run", "run the relay in the foreground", config_argument, run)
