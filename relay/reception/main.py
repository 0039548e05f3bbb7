"""The start of a receiver child: read the briefing, connect to the master, take mail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from relay.channel.briefing import ReceiverBriefing
from relay.children.life import briefed, connect, die_with, settle

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory

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
    from relay.listener.room import TOO_BUSY
    from relay.net.files import RESERVE, spare_files
    from relay.net.shared import adopt
    from relay.net.tls import TlsUnusable
    from relay.reception.receiver import Receiver

    def accept(factory: IProtocolFactory) -> Any:
        port = adopt(reactor, LISTENING, factory)
        spare_files(port, reactor, RESERVE, b"" if briefing.section.tls == "implicit" else TOO_BUSY.encode())
        return port

    settle(reactor)
    try:
        receiver = Receiver(briefing, reactor, accept)
    except TlsUnusable as error:
        sys.exit(str(error))
    connecting = connect(reactor, briefing, Link(receiver, FrameReader(TO_RECEIVER)))
    connecting.addErrback(lambda failure: receiver.leave(1, failure.getErrorMessage()))
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    return receiver.exit_code
