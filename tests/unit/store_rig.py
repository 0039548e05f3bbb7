"""What the store's tests share: a reactor and a worker moved by hand, and ready-made mail."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Events, Queue
from relay.message.values import Delivery, Message, Origin
from relay.queue.level import LevelStore


class HandReactor(Clock):
    """A Clock at a sensible time of day, whose threads are this one."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        super().__init__()
        self.rightNow = now

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None:
        self.callLater(0, callable, *args)


class HandWorker:
    """Runs a job when told to, so that a test can stand between a write and its end."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], object], Callable[[object], None]]] = []
        self.stopped = False

    def call(self, job: Callable[[], object], done: Callable[[object], None]) -> None:
        self.jobs.append((job, done))

    def stop(self) -> None:
        self.stopped = True

    def run_one(self) -> None:
        job, done = self.jobs.pop(0)
        try:
            result = job()
        except Exception as error:
            result = error
        done(result)


def settle(reactor: HandReactor, worker: HandWorker) -> None:
    """Run everything that is due now, in the reactor and in the worker."""
    while worker.jobs or any(call.getTime() <= reactor.seconds() for call in reactor.getDelayedCalls()):
        reactor.advance(0)
        if worker.jobs:
            worker.run_one()


class OnDisk(SynchronousTestCase):
    """A LevelStore in a directory of its own."""

    config = Queue()
    events = Events()

    def setUp(self) -> None:
        self.path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.path)
        self.start()
        self.addCleanup(self.stop)

    def start(self) -> None:
        self.reactor, self.worker = HandReactor(), HandWorker()
        self.store: LevelStore = LevelStore(
            self.path, self.config, self.reactor, self.events, worker=self.worker
        )
        self.store.open()
        settle(self.reactor, self.worker)

    def stop(self) -> None:
        closed = self.store.close()
        settle(self.reactor, self.worker)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def done(self, deferred: Deferred[Any]) -> None:
        settle(self.reactor, self.worker)
        self.successResultOf(deferred)

    def restart(self) -> None:
        self.stop()
        self.start()


def result(test: SynchronousTestCase, deferred: Deferred[Any]) -> Any:
    return test.successResultOf(deferred)


def queue_id(number: int) -> str:
    return f"{number:018x}"


def message(number: int, *, recipients: int = 1, chunks: int = 1, sender: str = "a@example.com") -> Message:
    return Message(
        id=queue_id(number),
        sender=sender,
        origin=Origin("feeder", "127.0.0.1"),
        created=1_700_000_000_000,
        headers=b"Subject: test\r\n",
        body_size=chunks * 4,
        chunks=chunks,
        recipients=recipients,
    )


def delivery(number: int, seq: int = 1, **fields: Any) -> Delivery:
    values = {
        "zone": "default",
        "domain": "example.org",
        "recipient": f"r{seq}@example.org",
        "due": 1_700_000_000_000,
    }
    return Delivery(id=queue_id(number), seq=seq, **{**values, **fields})
