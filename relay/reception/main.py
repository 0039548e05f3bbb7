"""The start of a receiver child: read the briefing, connect to the master, take mail."""

from __future__ import annotations

import sys

from relay.channel.briefing import ReceiverBriefing
from relay.children.life import briefed, connect, die_with, settle

#: Where the master has put the listening socket of our listener.
LISTENING = 3


def main() -> None:
    """Runs until the channel is lost. Exit code 0 for an end that was asked for."""
    briefing = briefed(ReceiverBriefing, "relay.reception")
    # A receiver without a master would keep the port from the next one.
    die_with(briefing.master)
    sys.exit(run(briefing))


def run(briefing: ReceiverBriefing) -> int:
    """Connect and take mail; the exit code."""
    from twisted.internet import reactor

    from relay.channel.codec import TO_RECEIVER, FrameReader
    from relay.channel.link import Link
    from relay.net.shared import adopt
    from relay.reception.receiver import Receiver

    settle(reactor)
    receiver = Receiver(briefing, reactor, lambda factory: adopt(reactor, LISTENING, factory))
    connecting = connect(reactor, briefing, Link(receiver, FrameReader(TO_RECEIVER)))
    connecting.addErrback(lambda failure: receiver.leave(1, failure.getErrorMessage()))
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    return receiver.exit_code
