"""The inputs that are kept: read, chosen and written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
#: Most bytes and most inputs that are kept for one target.
MOST_BYTES = 24 * 1024
MOST_INPUTS = 120

_RELAY = str(ROOT / "relay")


def inputs(directory: Path) -> list[bytes]:
    """All inputs in a directory, in an order that doesn't depend on the file system."""
    return [path.read_bytes() for path in sorted(directory.glob("*")) if path.is_file()]


def chosen(one: Callable[[bytes], None], there: Iterable[bytes], candidates: Iterable[bytes]) -> list[bytes]:
    """What is there, and of the candidates those that reach a line of the relay from a line that
    neither that nor a smaller one reaches it from."""
    kept = list(there)
    known = {step for data in kept for step in _steps(one, data)}
    size = sum(map(len, kept))
    for data in sorted(set(candidates), key=lambda data: (len(data), data)):
        if len(kept) >= MOST_INPUTS or size + len(data) > MOST_BYTES:
            continue
        reached = _steps(one, data)
        if not reached <= known:
            known |= reached
            kept.append(data)
            size += len(data)
    return kept


def write(directory: Path, kept: Iterable[bytes]) -> None:
    """Put these inputs into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for data in kept:
        (directory / sha256(data).hexdigest()[:16]).write_bytes(data)


def _steps(one: Callable[[bytes], None], data: bytes) -> set[object]:
    """From which line to which the relay's code goes on this input."""
    steps: set[object] = set()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_RELAY):
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            steps.add((code, last, frame.f_lineno, event))
            last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        one(data)
    finally:
        sys.settrace(before)
    return steps
