"""`zonerelay demo`: the whole journey on one machine, within a minute, touching nothing outside.

A relay with a queue of its own in a temporary folder, and a sink that plays the next hop: it
takes one message at once, greylists one first, and refuses one.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from relay.cli.command import Command, Start
from relay.cli.journey import Journey, Place, fetched
from relay.cli.sink import Sink
from relay.startup import Refused

#: Recipient, what the sink does with mail for it, and how that ends.
STORY = (
    ("accepted@demo.example", "the sink takes it at the first attempt", "delivered"),
    ("greylisted@demo.example", "the sink wants it to be tried twice", "delivered"),
    ("refused@demo.example", "the sink knows nobody of that name", "bounced"),
)
#: When the demo gives up waiting (seconds).
PATIENCE = 45.0

_CONFIG = """
hostname = "relay.demo.example"
[queue]
path = "{folder}/queue"
retry = ["3s", "6s", "12s"]
min_free = "1MB"
[listeners.feeder]
endpoint = "tcp:{smtp}:interface=127.0.0.1"
[api]
endpoint = "tcp:{http}:interface=127.0.0.1"
[channel]
endpoint = "tcp:{channel}:interface=127.0.0.1"
[zones.default]
host = "127.0.0.1"
port = {sink}
[logs]
mail = "{folder}/mail.log"
"""


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0 when all three messages have come to the ends they should come to."""
    from twisted.internet import reactor

    loop: Any = reactor
    with tempfile.TemporaryDirectory(prefix="zonerelay-demo-") as folder:
        smtp, http, channel = _free_ports(3)
        sink = loop.listenTCP(0, Sink(), interface="127.0.0.1").getHost().port
        config = Path(folder) / "zonerelay.toml"
        config.write_text(_CONFIG.format(folder=folder, smtp=smtp, http=http, channel=channel, sink=sink))
        place = Place(smtp, http, Path(folder) / "mail.log")
        code = 1

        async def play() -> None:
            nonlocal code
            service = start(str(config))
            service.privilegedStartService()
            service.startService()
            loop.addSystemEventTrigger("before", "shutdown", service.stopService)
            print("A relay and a mail server for it to send to, both on this machine alone:\n")
            print(f"    relay   SMTP 127.0.0.1:{smtp}, HTTP 127.0.0.1:{http}")
            print(f"    sink    SMTP 127.0.0.1:{sink}")
            print(f"    queue   {folder}/queue")
            print("\nThree messages go the way of all mail: accept, spool, schedule, deliver, result.")
            code = await _tell(place, loop)

        def over(result: Any) -> None:
            if result is not None and not result.check(Refused, CancelledError):
                print(f"zonerelay: the demo failed: {result.getErrorMessage()}", file=sys.stderr)
            if loop.running:
                loop.stop()

        def begin() -> None:
            playing = Deferred.fromCoroutine(play())
            loop.addSystemEventTrigger("before", "shutdown", playing.cancel)
            playing.addTimeout(PATIENCE, loop).addBoth(over)

        loop.callWhenRunning(begin)
        loop.run()
    return code


async def _tell(place: Place, loop: Any) -> int:
    """All journeys, one after the other; the exit code."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    wrong = 0
    for number, (recipient, plot, end) in enumerate(STORY, 1):
        title = f"{number}. {recipient}: {plot}"
        print(f"\n\x1b[1m{title}\x1b[0m\n" if colour else f"\n{title}\n", flush=True)
        wrong += await Journey(place, recipient, loop, colour).travel() != end
    counts = await deferToThread(fetched, place.http, "/counter/zone/")
    left = sum(entry["value"] for kind in ("active", "deferred") for entry in counts[kind]["entries"])
    if wrong or left:
        print(f"\nNot as it should be: {wrong} ended otherwise, {left} are in the queue.", file=sys.stderr)
        return 1
    print("\nOne delivered, one delivered at the second attempt, one bounced: the queue is empty.")
    print("README.md tells how to start a relay of your own and send it a first mail.", flush=True)
    return 0


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens to just now. By plain sockets: those close at once."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in held]
    for listening in held:
        listening.close()
    return ports


COMMAND = Command("demo", "show the way of three messages, all on this machine", lambda _: None, run)
