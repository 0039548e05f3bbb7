"""`zonerelay queue`: what is in the queue, why it is there, and what is done to it."""

from __future__ import annotations

import argparse

from relay.cli import queue_act, queue_list, queue_show, why
from relay.cli.command import Command, Start, add_commands, chosen

#: In the order in which the help shows them.
COMMANDS = (queue_list.COMMAND, queue_show.COMMAND, why.COMMAND, *queue_act.COMMANDS)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, "action", "ACTION")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns what the action does."""
    return chosen(COMMANDS, arguments.action).run(arguments, start)


COMMAND = Command("queue", "list and search the queue, and act on what is in it", _arguments, run)
