"""What a command of `zonerelay` is: a module with a `COMMAND` of this shape, listed in `main`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.application.service import IService

from relay.config.load import DEFAULT_FILE

#: Makes the service of a configuration file, as twistd does; may end the process.
Start = Callable[[str], IService]


class Command(NamedTuple):
    """One word of the command line: its name, a line of help, its arguments, what it does, and other names for it.

    `run` returns the exit code.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Start], int]
    aliases: tuple[str, ...] = ()


def add_commands(parser: argparse.ArgumentParser, commands: Sequence[Command], dest: str, metavar: str) -> None:
    """The words that may follow; `dest` gets the name of the one that does."""
    words = parser.add_subparsers(dest=dest, required=True, metavar=metavar)
    for each in commands:
        word = words.add_parser(each.name, aliases=each.aliases, help=each.help, description=each.help)
        word.set_defaults(**{dest: each.name})
        each.arguments(word)


def chosen(commands: Sequence[Command], name: str) -> Command:
    """The one that is called so."""
    return next(each for each in commands if each.name == name)


def config_argument(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """`--config FILE`, with the same default everywhere. `inherited`: it may have been given before this word, too."""
    default = argparse.SUPPRESS if inherited else DEFAULT_FILE
    parser.add_argument("-c", "--config", metavar="FILE", default=default, help=f"default: {DEFAULT_FILE}")
