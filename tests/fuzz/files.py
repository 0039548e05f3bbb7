"""Files that people write: the configuration and the users."""

from __future__ import annotations

import os
from functools import lru_cache
from unittest.mock import patch

from relay.access.users import BadUsers, read
from relay.config.load import ConfigError, parse
from relay.config.schema import Config
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
