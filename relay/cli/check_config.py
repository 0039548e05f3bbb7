"""`zonerelay check-config`: is this file fit to start with, and if not, why? Starts nothing."""

from __future__ import annotations

import argparse
import sys

from relay.access.users import BadUsers, read
from relay.cli.command import Command, Start, config_argument
from relay.config.load import ConfigError, load_with_warnings


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints every error and returns 1, or prints warnings and `FILE: ok` and returns 0."""
    try:
        config, warnings = load_with_warnings(arguments.config)
        if config.access.users:
            read(config.access.users)
    except (ConfigError, BadUsers) as error:
        print(error, file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{arguments.config}: ok")
    return 0


COMMAND = Command("check-config", "say what is wrong with a configuration file", config_argument, run)
