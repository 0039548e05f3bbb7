"""Files that people write: the configuration, the users, lists of those who get no mail."""

from __future__ import annotations

import os
from functools import lru_cache
from unittest.mock import patch

from relay.access.users import BadUsers, read
from relay.config.load import ConfigError, parse
from relay.config.schema import Config
from relay.suppression import whom
from relay.suppression.table import HEADING, Line, Reader, written
from tests.fuzz.choices import long


def config(data: bytes) -> None:
    """A configuration, or what is wrong with it, a line for each reason."""
    text = long(data, 8192).decode("utf-8", "ignore")
    try:
        # The machine's own name takes a question to a name server.
        with patch("socket.getfqdn", return_value="relay.example.com"):
            found = parse(text, "x")
    except ConfigError as error:
        assert error.problems
        assert all(problem.startswith("x:") and problem.isprintable() for problem in error.problems)
        return
    assert isinstance(found, Config)


@lru_cache(1)
def _memory() -> int:
    return os.memfd_create("users")


def users(data: bytes) -> None:
    """Users by their names, or one line that says what is wrong."""
    file, text = _memory(), long(data)
    os.ftruncate(file, 0)
    os.pwrite(file, text, 0)
    try:
        found = read(f"/proc/self/fd/{file}")
    except BadUsers as error:
        assert str(error).isprintable()
        return
    for name, known in found.items():
        assert name == known.user.name.lower()


#: When lists are read (ms since the epoch).
_NOW = 1_800_000_000_000


def _read(*pieces: bytes) -> list[Line]:
    reader = Reader(lambda: _NOW)
    return [*(line for piece in pieces for line in reader.feed(piece)), *reader.end()]


def suppressions(data: bytes) -> None:
    """An entry or a fault for each line, the same in any split; what is written is read again, and is found."""
    cut, text = data[:1], long(data[1:])
    at = (cut[0] if cut else 0) * len(text) // 255
    found = _read(text)
    assert found == _read(text[:at], text[at:])
    numbers = [line.number for line in found]
    assert numbers == sorted(set(numbers))
    for line in found:
        assert (line.entry is None) == bool(line.fault)
        assert line.fault.isprintable()
    entries = [line.entry for line in found if line.entry is not None]
    assert [line.entry for line in _read(HEADING + written(entries))] == entries
    for entry in entries:
        assert entry.reason.isprintable() and entry.tenant.isprintable()
        if entry.address:
            assert whom.mailbox(entry.address) == whom.address(entry.address) == entry.address
        else:
            assert whom.domain(entry.domain) == entry.domain
