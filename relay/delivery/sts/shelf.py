"""Policies that were fetched, each in a small file, so that no restart forgets what a domain asks for.

The directory is shared by all children of all zones: whoever has fetched a policy puts it there, and whoever wants
one looks there first. A file is whole, the old one or the new; there are so many at most, and the oldest go.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
from twisted.logger import Logger

from relay.delivery.sts.policy import LARGEST, MAX_AGE, Mode, StsPolicy
from relay.keep import replace

_log = Logger()

#: Policies that are kept.
MOST = 20_000
#: Files of one that was fetched longer ago are of no use any more (milliseconds).
_LONGEST = (MAX_AGE + 86_400) * 1000


class Kept(msgspec.Struct, frozen=True):
    """A policy of a domain, the id of its record, and when it was fetched (milliseconds since the epoch)."""

    domain: str
    id: str
    fetched: int
    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    @property
    def policy(self) -> StsPolicy:
        return StsPolicy(self.mode, self.mx, self.max_age)

    def holds(self, now: int) -> bool:
        """Whether it is in force. A clock that was set back makes no policy older than it is."""
        return now < self.fetched + self.max_age * 1000


class Shelf:
    """The directory. Its methods take the time of the disk."""

    def __init__(self, directory: Path, mark: str) -> None:
        """`mark`, part of a file name, is no other process's."""
        self._directory = directory
        self._mark = mark

    def read(self, domain: str) -> Kept | None:
        """What is kept of a domain's, in force or not. A file that can't be read, or is damaged, is none, and the log
        tells of it."""
        try:
            return self.load(domain)
        except ValueError as error:
            _log.warn("MTA-STS policy of {domain}: {error}", domain=domain, error=str(error))
            return None

    def load(self, domain: str) -> Kept | None:
        """The same. Raises ValueError, which names the file, when that can't be read or is damaged."""
        path = self._path(domain)
        try:
            with open(path, "rb") as file:
                kept = msgspec.json.decode(file.read(LARGEST), type=Kept)
            if kept.domain != domain:
                raise ValueError("it is of another domain")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{path}: {reason}") from None
        return kept

    def write(self, kept: Kept) -> None:
        """Keep it; on disk when this returns. Raises OSError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        replace(self._path(kept.domain), msgspec.json.encode(kept), f".{self._mark}.new")

    def tidy(self, now: int) -> None:
        """Remove what is of no use any more, what is too much, and what others left half written. Raises OSError."""
        if not self._directory.exists():
            return
        found = sorted(filter(None, map(_written, self._directory.iterdir())))
        whole = [entry for entry in found if entry[1].suffix == ".json"]
        old = [path for written, path in whole if written < now - _LONGEST]
        half = [path for written, path in found if path.suffix == ".new" and written < now - 3_600_000]
        many = [path for _, path in whole[: max(0, len(whole) - MOST)]]
        for path in {*old, *half, *many}:
            path.unlink(missing_ok=True)

    def _path(self, domain: str) -> Path:
        # A name may be as long as a name of a file, and has no reason to be a safe one.
        return self._directory / f"{sha256(domain.encode()).hexdigest()[:40]}.json"


def _written(path: Path) -> tuple[int, Path] | None:
    """When, and what; None: another process has removed it."""
    try:
        return path.stat().st_mtime_ns // 1_000_000, path
    except FileNotFoundError:
        return None
