"""The start of a sender child: read the briefing, connect to the master, run."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import msgspec

from relay.channel.briefing import Briefing, decode


def main() -> None:
    """Runs until the channel is lost. Exit code 0 for an end that was asked for."""
    try:
        briefing = decode(sys.stdin.buffer.read())
    except msgspec.MsgspecError:
        sys.exit("relay.delivery is started by the relay, not by hand")
    sys.exit(run(briefing))


def run(briefing: Briefing) -> int:
    """Connect and deliver; the exit code."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    from relay.channel.codec import reader_for_child
    from relay.channel.journal import Journal
    from relay.channel.link import Link
    from relay.delivery.sender import Sender
    from relay.net.files import allow_many_files
    from relay.net.reactor import prepare

    prepare(reactor)
    told = LogLevelFilterPredicate()
    # Twisted tells of each port and factory, and there is one for each DNS query.
    for chatty in ("twisted", "log_legacy"):
        told.setLogLevelForNamespace(chatty, LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [told])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the master.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # So is the end of a whole process group.
    allow_many_files()  # Hanging peers hold sockets.
    gc.freeze()  # What the start has made stays.
    gc.set_threshold(20_000, 20, 50)
    journal = Journal(Path(briefing.journal))
    sender = Sender(briefing, journal, reactor)
    endpoint = TCP6ClientEndpoint if ":" in briefing.host else TCP4ClientEndpoint
    connecting = connectProtocol(
        endpoint(reactor, briefing.host, briefing.port, timeout=10), Link(sender, reader_for_child())
    )
    connecting.addErrback(lambda failure: sender.leave(1, failure.getErrorMessage()))
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    journal.close()
    return sender.exit_code
