"""Makes a deep queue offline, through the store itself, so that its format is never a second one.

    python -m bench.queuefill DIR --count 1000000 --domains 10000 --due 3600 [--pattern "d{n}.deep.test"]

DIR is what `queue.path` will be. Deliveries are one per message, of 2 KB, already deferred once (so
that the secondary indexes are there too), and due in `--due` seconds (negative: due already), spread
over a fifth of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from relay.config.schema import Queue
from relay.message.queueid import QueueIds
from relay.message.values import Delivery, Message, Origin
from relay.queue.level import LevelStore

WINDOW = 2000
BODY = b"x" * 70 + b"\r\n"


async def fill(
    reactor: Any, path: str, count: int, domains: int, due: float, pattern: str, user: str, flow: str = ""
) -> float:
    """Write `count` deliveries into a new queue at `path`; seconds it took. `flow`: see relay.message.flow."""
    store = LevelStore(path, Queue(path=path, sync=False), reactor)
    store.open()
    begun = time.monotonic()
    now = int(time.time() * 1000)
    ids = QueueIds(lambda: now)
    origin = Origin("feeder", "127.0.0.1", "src.test")
    body = BODY * 24
    under_way: list[Deferred[None]] = []
    for number in range(count):
        queue_id, domain = ids.next(), pattern.replace("{n}", str(number % domains))
        recipient = f"{user.replace('{n}', str(number))}@{domain}"
        headers = f"From: <a@src.test>\r\nTo: <{recipient}>\r\nSubject: {number}\r\n".encode()
        message = Message(queue_id, "a@src.test", origin, now, headers, len(body), 1, 1)
        at = now + int(due * 1000 * (1 - 0.2 * (number % 997) / 997))
        row = Delivery(
            queue_id,
            1,
            "default",
            domain,
            recipient,
            at,
            attempts=1,
            first_failure=now,
            last_failure=now,
            response="451 4.3.0 later",
            category="reply",
            flow=flow,
        )
        under_way.append(store.append(message, [row], body))
        if len(under_way) == WINDOW:
            await gatherResults(under_way, consumeErrors=True)
            under_way = []
    await gatherResults(under_way, consumeErrors=True)
    await settled(reactor)
    await store.close()
    return time.monotonic() - begun


async def settled(reactor: Any, seconds: float = 300.0) -> None:
    """Wait until LevelDB has nothing left to compact: a queue grew over hours, not in a minute."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.process_time()
        await task.deferLater(reactor, 2.0)
        if time.process_time() - before < 0.05:
            return


def main() -> None:
    from twisted.internet import reactor

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory")
    p.add_argument("--count", type=int, default=1_000_000)
    p.add_argument("--domains", type=int, default=10_000)
    p.add_argument("--due", type=float, default=3600.0)
    p.add_argument("--pattern", default="d{n}.deep.test", help="their domains")
    p.add_argument("--user", default="user{n}", help="their local parts")
    a = p.parse_args()

    async def run(_: object) -> None:
        took = await fill(reactor, a.directory, a.count, a.domains, a.due, a.pattern, a.user)
        print(f"{a.count} deliveries in {took:.0f} s", file=sys.stderr)

    task.react(lambda r: Deferred.fromCoroutine(run(r)))


if __name__ == "__main__":
    main()
