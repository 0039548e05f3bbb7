"""The start of a sender child: read the briefing, connect to the master, run."""

from __future__ import annotations

import sys
from pathlib import Path

from relay.channel.briefing import SenderBriefing
from relay.children.life import briefed, connect, settle


def main() -> None:
    """Runs until the channel is lost. Exit code 0 for an end that was asked for."""
    sys.exit(run(briefed(SenderBriefing, "relay.delivery")))


def run(briefing: SenderBriefing) -> int:
    """Connect and deliver; the exit code."""
    from twisted.internet import reactor

    from relay.channel.codec import TO_SENDER, FrameReader
    from relay.channel.journal import Journal
    from relay.channel.link import Link
    from relay.delivery.sender import Sender

    settle(reactor)
    journal = Journal(Path(briefing.journal))
    sender = Sender(briefing, journal, reactor)
    connecting = connect(reactor, briefing, Link(sender, FrameReader(TO_SENDER)))
    connecting.addErrback(lambda failure: sender.leave(1, failure.getErrorMessage()))
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    journal.close()
    return sender.exit_code
