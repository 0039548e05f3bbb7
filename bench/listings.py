"""How long the API takes to list and to search a deep queue.

    python -m bench.listings [--count 1000000] [--rounds 21]

A queue is written through the store, with the events that come with it: made once, and copied afterwards. It has
10,000 domains, one of which gets a third of the mail; a thousand senders, one of whom has written half of it; 20
tenants; most is deferred, a part is due in a zone that doesn't send, one in a hundred is put aside. A relay serves it,
and each listing is asked for its first page of 100 and for one that lies up to 100,000 deliveries, or 200 pages,
behind. Prints one JSON line: medians, the slowest, and what of a page is the relay's processor (ms); exit status 1 when
a median is above the limit in the code.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from statistics import median
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from bench.queuefill import BODY, WINDOW, settled
from bench.rig import Run, home
from bench.scale import master
from relay.config.schema import Events, Queue
from relay.events.steps import Steps
from relay.message.queueid import QueueIds
from relay.message.values import Delivery, Message, Origin
from relay.queue.level import LevelStore

#: Milliseconds that a page may take, by the median.
LIMIT = 50.0
_DEPTH, _STEP = 100_000, 1000
_LATER = 180 * 86_400_000
#: One in so many is of something rare.
_RARE = 100_000
_ORIGIN = Origin("feeder", "127.0.0.1", "src.test")
_REASONS = ("network", "capacity", "policy", "dns")

#: What is asked for.
LISTINGS = {
    "everything": "",
    "one zone": "zone=default",
    "one zone, due": "zone=quiet&state=queued",
    "due": "state=queued",
    "deferred": "state=deferred",
    "put aside": "state=held",
    "a big domain": "domain=big.test",
    "a small domain": "domain=d17.small.test",
    "all to a big domain, by recipient": "recipient=@big.test",
    "a busy sender": "sender=news@busy.test",
    "a sender": "sender=user17@src.test",
    "a rare sender": "sender=rare@src.test",
    "a sender's domain": "sender=@src.test",
    "one recipient": "recipient=user4711@d4711.small.test",
    "a tenant": "tenant=t17",
    "a common tag": "tag=news",
    "a rare tag": "tag=rare",
    "one Message-ID": "message_id=%3C500000@src.test%3E",
    "a reason": "reason=capacity",
    "a rare reason": "reason=tls",
    "a busy sender at a small domain": "sender=news@busy.test&domain=d18.small.test",
    "a tenant's put aside": "tenant=t17&state=held",
    "a tag of a tenant, deferred for a reason": "tag=news&tenant=t16&state=deferred&reason=policy",
    "old ones of a busy sender in a zone": "older=1m&sender=news@busy.test&zone=quiet",
    "a rare sender's domain, nothing narrower": "sender=@rare.test",
}


def mail(number: int, queue_id: str, now: int) -> tuple[Message, Delivery]:
    """One of many, all of them different."""
    domain = "big.test" if number % 3 == 0 else f"d{number % 10_000}.small.test"
    sender = "news@busy.test" if number % 2 == 0 else f"user{number % 1000}@src.test"
    if number % _RARE == 4711:
        sender = "rare@src.test"
    recipient = f"user{number}@{domain}"
    headers = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {number}\r\n".encode()
    tags = ("news",) if number % 2 == 0 else ()
    message = Message(
        queue_id, sender, _ORIGIN, now, headers, len(BODY) * 24, 1, 1, message_id=f"<{number}@src.test>",
        tenant=f"t{number % 20}", tags=(*tags, "rare") if number % _RARE == 1234 else tags,
    )  # fmt: skip
    due, zone, held = now + _LATER, "default", ""
    if number % 100 == 50:
        held = "an operator has put it aside"
    elif number % 10 < 3:
        due, zone = now, "quiet"
    row = Delivery(queue_id, 1, zone, domain, recipient, due, held=held)
    if number % 10 >= 3:
        reason = "tls" if number % _RARE == 999 else _REASONS[number % 4]
        response = "451 4.3.0 later"
        row = Delivery(queue_id, 1, zone, domain, recipient, due, 1, now, now, response, reason, held)
    return message, row


async def fill(reactor: Any, path: str, count: int) -> None:
    """Write them into a new queue."""
    store = LevelStore(path, Queue(path=path, sync=False), reactor, Events(max_size=1 << 40))
    store.open()
    now = int(time.time() * 1000)
    ids, steps = QueueIds(lambda: now), Steps(True, lambda: now)
    under_way: list[Deferred[None]] = []
    for number in range(count):
        message, row = mail(number, ids.next(), now)
        under_way.append(store.append(message, [row], BODY * 24, b"", steps.queued(message, [row])))
        if len(under_way) == WINDOW:
            await gatherResults(under_way, consumeErrors=True)
            under_way = []
            now = int(time.time() * 1000)
    await gatherResults(under_way, consumeErrors=True)
    await settled(reactor)
    await store.close()


def kept(count: int) -> str:
    """Where there is such a queue."""
    path = f"{home()}/listings-{count}"
    if not os.path.exists(f"{path}.done"):
        shutil.rmtree(path, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "bench.listings", "--fill", path, "--count", str(count)], check=True)
        with open(f"{path}.done", "w"):
            pass
    return path


def used(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """One kept connection."""

    def __init__(self, port: int, pid: int) -> None:
        self._pid = pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def page(self, query: str, limit: int, cursor: str) -> tuple[float, int, str | None]:
        """How long a page took (ms), how many were on it, and the cursor of the next."""
        path = f"/v1/queue?limit={limit}" + (f"&{query}" if query else "") + (f"&cursor={cursor}" if cursor else "")
        begun = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        told = json.loads(answer.read())
        took = (time.perf_counter() - begun) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {told}")
        return took, len(told["items"]), told["next"]

    def timed(self, query: str, cursor: str, rounds: int) -> dict[str, Any]:
        """Milliseconds of several pages, and of the relay's processor for each."""
        before = used(self._pid)
        pages = [self.page(query, 100, cursor) for _ in range(rounds)]
        own = (used(self._pid) - before) / rounds * 1000
        times = [took for took, _, _ in pages]
        found = {"median": median(times), "most": max(times), "cpu": own, "items": pages[0][1]}
        return {name: round(value, 1) for name, value in found.items()}

    def deep(self, query: str) -> tuple[str, int, int, float]:
        """A cursor far behind, how many lie before it, how many pages that were, and the longest of them (ms)."""
        cursor, before, pages, longest = "", 0, 0, 0.0
        while before < _DEPTH and pages < 2 * _DEPTH // _STEP:
            took, count, further = self.page(query, _STEP, cursor)
            longest = max(longest, took)
            pages += 1
            if further is None:
                break
            cursor, before = further, before + count
        return cursor, before, pages, longest


def measure(count: int, rounds: int) -> dict[str, Any]:
    path = kept(count)
    run = Run("zonerelay", sink=False)
    try:
        shutil.copytree(path, f"{run.place.state}/queue")
        subprocess.run(["sync"], check=True)
        run.start(120)
        client = Client(run.place.api, master(run))
        # It finds its lanes first, in slices of its own.
        while client.timed("", "", 5)["most"] > 2 * LIMIT:
            time.sleep(1)
        figures: dict[str, Any] = {}
        for name, query in LISTINGS.items():
            first = client.timed(query, "", rounds)
            cursor, before, pages, longest = client.deep(query)
            deep = client.timed(query, cursor, rounds) if cursor else first
            figures[name] = {"first": first, "deep": deep, "behind": before, "pages": pages, "longest": round(longest)}
            print(name, figures[name], file=sys.stderr, flush=True)
        worst = max(max(one["first"]["median"], one["deep"]["median"]) for one in figures.values())
        return {"count": count, "limit": LIMIT, "worst": worst, "ok": worst <= LIMIT, "figures": figures}
    finally:
        run.close()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=1_000_000)
    p.add_argument("--rounds", type=int, default=21)
    p.add_argument("--fill", help="only write the queue, there")
    a = p.parse_args()
    if a.fill:
        task.react(lambda reactor: Deferred.fromCoroutine(fill(reactor, a.fill, a.count)))
    result = measure(a.count, a.rounds)
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
