"""What addresses in warm-up have sent, on disk before it is sent: a small file beside the queue.

The promise is another than that of other counts: after a crash the file says at least what was sent, so that no
site ever gets more than the plan says. All that waits for the disk while one write runs goes with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.keep import replace
from relay.zone.plan import DAY
from relay.zone.standing import Standing
from relay.zone.warmup import Reservation, Spend, Warmups

_log = Logger()

#: Seconds until a write that failed is tried again.
RETRY = 5.0
#: The largest file that is read: all sites there may be, with the longest names.
_LARGEST = 64 * 1024 * 1024
_decode = msgspec.json.Decoder(list[tuple[str, int, dict[str, int]]]).decode
_encode = msgspec.json.Encoder().encode


class InThread(Protocol):
    """As deferToThread: calls it where it may block."""

    def __call__(self, call: Callable[..., None], /, *args: Any) -> Deferred[None]: ...


class _Waiting(Deferred[bool]):
    """A message that is counted and waits for the disk."""

    def __init__(self, address: str, site: str, day: int) -> None:
        super().__init__()
        self.address, self.site, self.day = address, site, day


class Warming:
    """Counts what goes by addresses in warm-up, and keeps it in one file."""

    def __init__(
        self,
        warmups: Warmups,
        path: Path,
        clock: IReactorTime,
        now: Callable[[], int],
        in_thread: InThread,
        changed: Callable[[str, str], None],
    ) -> None:
        """`now` gives ms since the epoch. `changed` is called with an address and a site ("" for all) when there
        is more room than before; not at midnight, for which there is `next_change`."""
        self._warmups = warmups
        self._path = path
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._changed = changed
        self._waiting: list[_Waiting] = []
        self._writing: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._failing = False
        self._stopped = True

    def start(self) -> None:
        """Go on from the file, if there is one. Where it can't be read, what was sent today isn't known: that is
        said, and nothing goes by addresses in warm-up until midnight."""
        if not self._warmups:
            return
        self._stopped = False
        try:
            self._warmups.restore(_decode(_read(self._path)), self._now())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _log.error(
                "{path}: nothing goes by addresses in warm-up until midnight UTC, their counts can't be read: {error}",
                path=str(self._path),
                error=str(error),
            )
            self._warmups.close(self._now())
            self._write()

    # -- for each message

    def day(self) -> int:
        """Today, as `give_back` wants it."""
        return self._now() // DAY

    def next_change(self) -> int:
        """When all amounts change (ms since the epoch)."""
        return self._warmups.next_change(self._now())

    def room(self, address: str, site: str) -> int | None:
        """How many more messages the site may get by the address today; None where that isn't limited. While the
        file can't be written it is what was reserved before."""
        room = self._warmups.covered if self._failing or self._stopped else self._warmups.room
        return room(address, site, self._now())

    def spend(self, address: str, site: str) -> bool | Deferred[bool]:
        """Count one message, just before MAIL: whether it may go. A Deferred tells it when that is on disk; it
        never fails. Whoever is told True and sends nothing, or stops waiting (cancels), gives it back."""
        if self._stopped:
            return self._warmups.room(address, site, self._now()) is None
        outcome = self._warmups.spend(address, site, self._now())
        if outcome is not Spend.WAIT:
            if self._warmups.unsaved:
                self._write()
            return outcome is Spend.GO
        if self._failing:
            self._warmups.give_back(address, site, self.day())
            return False
        waiting = _Waiting(address, site, self.day())
        self._waiting.append(waiting)
        self._write()
        return waiting

    def give_back(self, address: str, site: str, day: int) -> None:
        """A message that was counted on that `day()` never reached MAIL."""
        has_room = self._warmups.give_back(address, site, day)
        if has_room is not None:
            self._changed(address, has_room)

    def listed(self, address: str = "", site: str = "") -> Sequence[Standing]:
        """All addresses in a plan, or one; with those 1,000 sites that got most, or with one each."""
        return self._warmups.listed(self._now(), address, site)

    # -- the file

    async def stop(self) -> None:
        """Nothing goes any more; write for the last time what was really sent."""
        if self._stopped:
            return
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._writing is not None:
            await self._writing
        self._refuse()
        self._warmups.settle()
        try:
            await self._in_thread(replace, self._path, _encode(self._warmups.saved()))
        except OSError as error:
            self._say(error)

    def _write(self) -> None:
        """Unless a write runs, or is to be tried again later: those begin the next one."""
        if self._writing is not None or self._retry is not None or self._stopped:
            return
        reservation, waiting = self._warmups.reserve(), self._waiting
        self._waiting = []
        self._writing = Deferred()
        writing = self._in_thread(replace, self._path, _encode(reservation.saved))
        writing.addCallbacks(
            self._written, self._not_written, callbackArgs=(reservation, waiting), errbackArgs=(reservation, waiting)
        )
        writing.addErrback(lambda failed: _log.failure("warm-up", failed))

    def _written(self, _: None, reservation: Reservation, waiting: list[_Waiting]) -> None:
        self._warmups.reserved(reservation)
        healed, self._failing = self._failing, False
        for one in waiting:
            one.callback(True)
        self._go_on()
        for address in self._warmups if healed else ():
            self._changed(address, "")

    def _not_written(self, failed: Failure, reservation: Reservation, waiting: list[_Waiting]) -> None:
        self._say(failed.value)
        self._warmups.not_reserved(reservation)
        self._failing = True
        if not self._stopped:
            self._retry = self._clock.callLater(RETRY, self._try_again)
        self._waiting = waiting + self._waiting
        self._refuse()
        self._go_on()

    def _go_on(self) -> None:
        """A write is over: begin the next one, if there is anything for it."""
        writing, self._writing = self._writing, None
        # One that waits may have asked for nothing new: the write that is over had it, or a later one will.
        if self._warmups.unsaved or self._waiting:
            self._write()
        if writing is not None:
            writing.callback(None)

    def _try_again(self) -> None:
        self._retry = None
        self._write()

    def _refuse(self) -> None:
        """Those that wait can't go. A cancelled one was given back by whoever cancelled it."""
        waiting, self._waiting = [one for one in self._waiting if not one.called], []
        for one in waiting:
            self._warmups.give_back(one.address, one.site, one.day)
        for one in waiting:
            one.callback(False)

    def _say(self, error: object) -> None:
        _log.error("{path}: counts of warm-up not written: {error}", path=str(self._path), error=str(error))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"expected at most {_LARGEST} bytes")
    return data
