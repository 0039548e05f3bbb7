"""The command line `zonerelay`: finds the command and lets it run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from relay import __version__
from relay.cli import (
    backoff,
    check_bounce,
    check_config,
    decisions,
    demo,
    dkim,
    history,
    hold,
    key,
    route,
    run,
    sinks,
    suppression,
    tenant,
    tls_report,
    user,
    warmup,
    why,
)
from relay.cli.command import Command, Start

#: In the order in which the help shows them.
COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    check_config.COMMAND,
    route.COMMAND,
    user.COMMAND,
    key.COMMAND,
    tenant.TENANT,
    tenant.MEMBER,
    dkim.COMMAND,
    why.COMMAND,
    check_bounce.COMMAND,
    hold.HOLD,
    hold.RELEASE,
    hold.HOLDS,
    history.HISTORY,
    history.EVENTS,
    sinks.COMMAND,
    decisions.COMMAND,
    backoff.COMMAND,
    warmup.COMMAND,
    suppression.COMMAND,
    tls_report.COMMAND,
    demo.COMMAND,
)


def main(words: Sequence[str], start: Start) -> int:
    """Runs the command that `words` name and returns its exit code.

    `start` comes from above, for the service is not this layer's to know. Words that make no
    command end the process with code 2, as argparse does.
    """
    parser = argparse.ArgumentParser(prog="zonerelay", description="An outbound mail relay.")
    parser.add_argument("--version", action="version", version=f"zonerelay {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.arguments(commands.add_parser(command.name, help=command.help, description=command.help))
    arguments = parser.parse_args(words)
    chosen = next(command for command in COMMANDS if command.name == arguments.command)
    return chosen.run(arguments, start)
