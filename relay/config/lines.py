"""On which line of a TOML file a key stands, since tomllib does not tell.

A plain scan of headers and `key =` lines, good for pointing a reader at the place, not
for parsing: what it cannot make out has no line, and the message goes without.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

#: Names from the root of the file to a key.
Path = tuple[str, ...]

# Each `=` of a line may cost a parse of what stands before it.
_LONGEST_KEY = 300


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every table header and key that the scan finds."""
    lines: dict[Path, int] = {}
    table: Path = ()
    quote = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not quote and line.startswith("["):
            table = _names(line) or table
            lines.setdefault(table, number)
        elif not quote and line[:1] not in ("", "#") and (key := _key(line)):
            lines.setdefault(table + key, number)
        for mark in ('"""', "'''"):
            # An odd count opens or closes a string of several lines.
            if quote in ("", mark) and line.count(mark) % 2:
                quote = "" if quote else mark
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of `path`, else that of the nearest key around it, None when unknown."""
    for length in range(len(path), 0, -1):
        if line := lines.get(path[:length]):
            return line
    return None


def _key(line: str) -> Path:
    """The name before the `=` of `a."b=c" = 1`, () when it is none."""
    end = line.find("=", 0, _LONGEST_KEY)
    while end != -1:
        if names := _names(line[:end] + "=0"):
            return names
        end = line.find("=", end + 1, _LONGEST_KEY)
    return ()


def _names(line: str) -> Path:
    """The one way down in a single line of TOML: `[a."b.c"]` or `a.b = 0`; () for anything else."""
    try:
        here: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    names: list[str] = []
    while here:
        if isinstance(here, list):
            here = here[0]
        elif isinstance(here, dict):
            name, here = next(iter(here.items()))
            names.append(name)
        else:
            break
    return tuple(names)
