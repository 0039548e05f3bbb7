"""A bar that shows how far something is, on the terminal of who waits for it, and nowhere else."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType

from relay.cli.table import bar, shortened

_BAR = 30


class Progress:
    """Of one job; it is gone when the job is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False

    def show(self, done: int, total: int, counting: bool) -> None:
        """`counting`: what there is to do isn't known yet."""
        if not sys.stderr.isatty():
            return
        share = 0.0 if counting or not total else done / total
        words = f"{total:,} so far" if counting else f"{share:4.0%}  {done:,} of {total:,}"
        line = shortened(f"{self._what}  {bar(share, _BAR)}  {words}", shutil.get_terminal_size().columns - 1)
        sys.stderr.write(f"\r{line}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
