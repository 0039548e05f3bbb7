"""The keys that were used lately, ready to sign; each is read again when its file has changed."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from relay.dkim.keyfile import Key, KeyUnread, KeyUnusable, load
from relay.dkim.names import KeyName

#: Keys that are kept in memory, some kilobytes each.
MOST = 1000
#: What was changed less long ago than this may have changed once more with the time still the same (ns): times of
#: files come in steps. It is read anew until then.
_COARSE = 2_000_000_000

_Stamp = tuple[int, int, int, int, int]


class _Kept(NamedTuple):
    stamp: _Stamp
    settled: bool
    found: Key | KeyUnusable


class KeyRing:
    """Keys by their names. May be used from several threads at once."""

    def __init__(self, directory: str, most: int = MOST, now: Callable[[], int] = time.time_ns) -> None:
        """`now` gives the time as the file system knows it, in ns since 1970."""
        self._directory = directory
        self._most = most
        self._now = now
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()

    def get(self, name: KeyName) -> Key:
        """The key as its file has it now. Raises KeyUnusable."""
        path = os.path.join(self._directory, name.file)
        stamp = _stamp(path)
        with self._lock:
            kept = self._kept.get(name.file)
            if kept is not None:
                self._kept.move_to_end(name.file)
        if kept is None or kept.stamp != stamp or not kept.settled:
            kept = self._read(path, stamp)
            with self._lock:
                self._kept[name.file] = kept
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        if isinstance(kept.found, KeyUnusable):
            # A fresh one each time: a raised error carries its traceback along.
            raise KeyUnusable(*kept.found.args)
        return kept.found

    def _read(self, path: str, stamp: _Stamp) -> _Kept:
        """The stamp was taken before: a change since then is seen next time. What couldn't be read is tried then."""
        settled = self._now() - max(stamp[0], stamp[1]) >= _COARSE
        try:
            return _Kept(stamp, settled, load(path))
        except KeyUnusable as error:
            settled = settled and not isinstance(error, KeyUnread)
            return _Kept(stamp, settled, KeyUnusable(*error.args))


def _stamp(path: str) -> _Stamp:
    """What tells whether the file is still the same; of one that isn't there it is nought."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0, 0, 0)
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
