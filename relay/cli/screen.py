"""The terminal that a command writes to: how wide it is, whether it is one, whether it takes colours."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from relay.cli.table import Column, table


def width() -> int:
    """Of the lines of a table: the terminal's; 0, as wide as it comes, where it goes to a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def colours() -> bool:
    """Whether they are wanted (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    for line in table(columns, rows, width()):
        print(line)


def print_json(told: Any) -> None:
    """What the API has said."""
    print(json.dumps(told, indent=2))
