"""The one thread that writes: jobs go in, results come back in the reactor's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from twisted.internet.interfaces import IReactorFromThreads

_Job = tuple[Callable[[], object], Callable[[object], None]]


class WorkerThread:
    """Runs jobs one after the other, until `stop`. Begun when it is made, not with the first
    job: later there may be no thread to be had, and no mail could be kept.

    It is a daemon thread: a process that ends without `stop` isn't held up by a slow disk.
    """

    __slots__ = ("_jobs", "_reactor")

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._reactor = reactor
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, job: Callable[[], object], done: Callable[[object], None]) -> None:
        """Run `job` in the thread, then `done` in the reactor's with its result or Exception."""
        self._jobs.put((job, done))

    def stop(self) -> None:
        """End after the jobs given so far."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                result = job()
            except Exception as error:
                result = error
            self._reactor.callFromThread(done, result)
            del item, job, done, result  # nothing is kept alive while waiting
