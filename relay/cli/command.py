"""What a command of `zonerelay` is: a module with a `COMMAND` of this shape, listed in `main`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from twisted.application.service import IService

from relay.config.load import DEFAULT_FILE

#: Makes the service of a configuration file, as twistd does; may end the process.
Start = Callable[[str], IService]


class Command(NamedTuple):
    """One word of the command line: its name, a line of help, its arguments, and what it does.

    `run` returns the exit code.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Start], int]


def config_argument(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """`--config FILE`, with the same default everywhere. `inherited`: it may have been given before this word, too."""
    default = argparse.SUPPRESS if inherited else DEFAULT_FILE
    parser.add_argument("-c", "--config", metavar="FILE", default=default, help=f"default: {DEFAULT_FILE}")
