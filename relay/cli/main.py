"""The command line `zonerelay`: finds the command and lets it run."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from relay import __version__
from relay.cli import (
    backoff,
    check_bounce,
    check_config,
    completion,
    decisions,
    demo,
    dkim,
    history,
    hold,
    key,
    queue,
    route,
    run,
    send,
    sinks,
    suppression,
    tenant,
    tls_report,
    top,
    user,
    warmup,
    why,
    zone,
)
from relay.cli.command import Command, Start, add_commands, chosen

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
    send.COMMAND,
    queue.COMMAND,
    top.COMMAND,
    zone.COMMAND,
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
    completion.COMMAND,
)


def make_parser() -> argparse.ArgumentParser:
    """Knows all commands."""
    parser = argparse.ArgumentParser(prog="zonerelay", description="An outbound mail relay.")
    parser.add_argument("--version", action="version", version=f"zonerelay {__version__}")
    parser.set_defaults(whole=parser)
    add_commands(parser, COMMANDS, "command", "COMMAND")
    return parser


def main(words: Sequence[str], start: Start) -> int:
    """Runs the command that `words` name and returns its exit code.

    `start` comes from above, for the service is not this layer's to know. Words that make no
    command end the process with code 2, as argparse does.
    """
    arguments = make_parser().parse_args(words)
    try:
        code = chosen(COMMANDS, arguments.command).run(arguments, start)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads it has read enough; nor is there anybody for what is still to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code
