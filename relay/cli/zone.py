"""`zonerelay zone`: the sending zones, with their mail, processes and connections."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start, add_commands, chosen
from relay.cli.screen import print_json, print_table
from relay.cli.table import Column

COLUMNS = (
    Column("ZONE", least=8),
    Column("QUEUED", right=True),
    Column("DEFERRED", right=True),
    Column("HELD", right=True),
    Column("ENDED", right=True, spare=True),
    Column("SENDERS", right=True, spare=True),
    Column("SENDING", right=True),
    Column("IDLE", right=True, spare=True),
    Column("POOL", least=6, spare=True),
    Column("NEXT HOP", least=8, spare=True),
)


def row(zone: dict[str, Any]) -> tuple[object, ...]:
    """Of `COLUMNS`."""
    counts = [f"{zone[name]:,}" for name in ("queued", "deferred", "held", "ended")]
    senders = "disabled" if zone["disabled"] else f"{len(zone['children'])}/{zone['processes']}"
    connections = zone["connections"]
    idle = connections.get("idle", 0)
    busy = sum(connections.values()) - idle
    return (zone["name"], *counts, senders, busy, idle, zone["pool"], zone["next_hop"])


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def _ls(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each zone."""

    def ask(api: Api) -> None:
        told = api.ask("GET", "/v1/zones")
        if arguments.json:
            print_json(told)
            return
        try:
            print_table(COLUMNS, [row(zone) for zone in told["zones"]])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ApiError("what answers is no relay that tells of its zones") from None

    return asking(arguments, ask)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ZONE")
    _ls_arguments(parser)


def _show(arguments: argparse.Namespace, start: Start) -> int:
    """Prints all that is told of a zone."""

    def ask(api: Api) -> None:
        told = api.ask("GET", f"/v1/zones/{quote(arguments.name, safe='')}")
        if arguments.json:
            print_json(told)
            return
        try:
            print("\n".join(_lines(told)))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ApiError("what answers is no relay that tells of its zones") from None

    return asking(arguments, ask)


def _lines(zone: Any) -> Iterator[str]:
    yield plain(zone["name"]) + (": disabled" if zone["disabled"] else "")
    yield "  mail         " + ", ".join(f"{zone[name]:,} {name}" for name in ("queued", "deferred", "held", "ended"))
    yield f"  goes to      {plain(zone['next_hop']) or 'the exchangers of each domain'}"
    states = [f"{count} {plain(state)}" for state, count in zone["connections"].items() if count]
    yield f"  connections  {', '.join(states) or 'none'}"
    yield f"  pool         {plain(zone['pool'])}"
    for address in zone["addresses"]:
        yield f"    {plain(address['address'])}  {plain(address['name'])}"
    yield f"  senders      {len(zone['children'])} of {plain(zone['processes'])}"
    for child in zone["children"]:
        places = f"{plain(child['busy'])} of {plain(child['places'])} places busy"
        yield f"    {plain(child['id'])}  {places}, {plain(child['silent'])} silent, {plain(child['idle'])} idle"


COMMANDS = (
    Command("ls", "list all zones", _ls_arguments, _ls, ("list",)),
    Command("show", "show one", _show_arguments, _show),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, "action", "ACTION")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns what the action does."""
    return chosen(COMMANDS, arguments.action).run(arguments, start)


COMMAND = Command("zone", "show the sending zones and how they stand", _arguments, run)
