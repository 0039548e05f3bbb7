"""What a long list of those who get no mail costs: how fast it is taken, what it adds to the memory of the relay, and
how long a look-up takes before an attempt.

    python -m bench.suppression [--counts 0,10000,1000000]

For each count a relay of its own sends some mail, so that it has the buffers and tables that one at work has, and takes
a list by HTTP; then recipients are looked up in it, one in a hundred of them on the list, and the list is read out.
Look-ups are timed in this process, on the queue that is left. Prints one JSON line for each count; exit status 1 when a
limit beside it in the code does not hold.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from bench.proctree import Peak
from bench.rig import Run
from bench.rig import measure as mailed
from bench.scale import MIB, master
from relay.config.schema import Queue
from relay.message.clock import WallClock
from relay.queue.level import LevelStore
from relay.suppression.suppressions import Suppressions

#: Look-ups that are timed, of each kind.
_LOOKS = 20_000
#: Look-ups by HTTP, and the mail that goes out before.
_ASKED, _MAILS = 5_000, 20_000
#: What the list may add to the master (bytes), and how much longer than in the shortest list it may take to find that
#: somebody is not on it, or that he is.
_MEMORY, _LONGER = 20 * MIB, 2.0


def address(number: int) -> str:
    """One of many, at one of many domains; those of a domain are far from each other in the file."""
    return f"user{number:07d}@d{number * 7919 % 20011}.example"


def lines(count: int) -> Iterator[bytes]:
    yield b"recipient,reason,source\r\n"
    for start in range(0, count, 1000):
        some = range(start, min(start + 1000, count))
        yield b"".join(b"%b,550 5.1.1 User unknown,bounce\r\n" % address(n).encode() for n in some)


def kinds(pid: int) -> dict[str, float]:
    """What the memory of a process consists of (MiB): all, its own, and files that are mapped."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    names = {"all": "VmRSS", "own": "RssAnon", "files": "RssFile"}
    return {name: round(int(fields[field].split()[0]) / 1024, 1) for name, field in names.items()}


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    headers = {"Content-Type": "text/csv", "Transfer-Encoding": "chunked"} if body is not None else {}
    connection.request(method, path, body, headers, encode_chunked=body is not None)
    answer = connection.getresponse()
    size = 0
    if "export" in path:
        while data := answer.read(1 << 16):
            size += len(data)
        return size
    return json.loads(answer.read())


def taken(run: Run, count: int) -> dict[str, Any]:
    """A relay takes the list: how fast, and its memory before and behind each thing that is done with it (MiB)."""
    run.start(60)
    assert run.tree is not None
    pid, api = master(run), run.place.api
    memory = {"started": kinds(pid)}
    mailed(run, 1024, _MAILS, True, 20, 600)
    time.sleep(5)
    memory["at work"] = kinds(pid)
    result: dict[str, Any] = {"count": count, "memory": memory}
    watch = Peak(run.tree)
    watch.start()
    if count:
        begun = time.monotonic()
        told = ask(api, "POST", "/v1/suppressions/import", lines(count))
        assert told["added"] == count, told
        result["imported_per_s"] = round(count / (time.monotonic() - begun))
    time.sleep(5)  # What is to be compacted is.
    memory["imported"] = kinds(pid)
    chance = random.Random(2)
    for number in range(_ASKED if count else 0):
        there = number % 100 == 0
        one = address(chance.randrange(count) + (0 if there else count))
        assert ask(api, "GET", f"/v1/suppressions?address={one}")["suppressed"] == there
    memory["looked up"] = kinds(pid)
    result["peak"] = round(watch.each.get(pid, 0) / MIB, 1)
    begun = time.monotonic()
    result["exported_bytes"] = ask(api, "GET", "/v1/suppressions/export")
    result["exported_per_s"] = round(count / (time.monotonic() - begun))
    memory["exported"] = kinds(pid)
    watch.stop()
    run.relay.terminate()
    run.relay.wait()
    return result


def _each(begun: float, times: int) -> float:
    return round((time.thread_time() - begun) / times * 1e6, 2)


async def looked_up(reactor: Any, path: str, count: int) -> dict[str, float]:
    """Microseconds of the processor for one recipient who isn't on the list, for one who is, and for reading the entry
    that was found, as is done for those who are struck off: one in a hundred look-ups."""
    store = LevelStore(path, Queue(path=path), reactor)
    store.open()
    try:
        listed = Suppressions(store.shelf("suppression"), WallClock())
        listed.open()
        assert listed.count == count
        chance = random.Random(1)
        times: dict[str, float] = {}
        for kind, first in (("miss", count + 1), ("hit", 0)):
            if kind == "hit" and not count:
                continue
            some = [address(first + chance.randrange(count or 1)) for _ in range(_LOOKS)]
            begun = time.thread_time()
            found = [stop for one in some if (stop := listed.find("", one)) is not None]
            times[f"{kind}_us"] = _each(begun, _LOOKS)
            assert len(found) == (_LOOKS if kind == "hit" else 0)
            if found:
                begun = time.thread_time()
                for stop in found[::100]:
                    listed.told(stop)
                times["told_us"] = _each(begun, _LOOKS // 100)
        return times
    finally:
        await store.close()


async def measure(reactor: Any, counts: list[int]) -> bool:
    """Whether every limit holds."""
    well = True
    usual: dict[str, float] = {}
    for count in counts:
        run = Run("zonerelay")
        try:
            result = taken(run, count)
            result |= await looked_up(reactor, f"{run.place.state}/queue", count)
        finally:
            run.close()
        grown = result["memory"]["looked up"]["all"] - result["memory"]["at work"]["all"]
        result["grown"] = round(grown, 1)
        looks = {kind: result[kind] for kind in ("miss_us", "hit_us") if count}
        usual = usual or looks
        result["well"] = grown * MIB <= _MEMORY and all(looks[kind] <= _LONGER * usual[kind] for kind in looks)
        well = well and result["well"]
        print(json.dumps(result), flush=True)
    return well


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--counts", default="0,10000,1000000")
    counts = [int(count) for count in p.parse_args().counts.split(",")]

    async def run(reactor: Any) -> None:
        if not await measure(reactor, counts):
            raise SystemExit(1)

    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
