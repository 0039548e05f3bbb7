"""`zonerelay warmup`: where each address in a warm-up plan stands today, and what its sites got."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking
from relay.cli.command import Command, Start

_HEADINGS = ("ADDRESS", "PLAN", "SINCE", "DAY", "SITE", "SENT", "LEFT")


def _arguments(parser: argparse.ArgumentParser) -> None:
    api_arguments(parser)
    parser.add_argument("--address", metavar="IP", default="", help="this local address alone")
    parser.add_argument("--site", default="", help="this site alone, whether or not it got anything")
    parser.add_argument("--json", action="store_true", help="print what the API says")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        asked = {key: value for key in ("address", "site") if (value := getattr(arguments, key))}
        told = api.ask("GET", "/v1/warmup" + (f"?{urlencode(asked)}" if asked else ""))
        try:
            lines = [json.dumps(told, indent=2)] if arguments.json else _lines(told, bool(arguments.site))
        except (KeyError, TypeError):
            raise ApiError("what answers is no relay that knows warm-up") from None
        print("\n".join(lines))

    return asking(arguments, ask)


def _lines(told: Any, one_site: bool) -> list[str]:
    """The answer as a table, one line for each site of each address."""
    rows: list[Sequence[str]] = []
    notes = []
    for one in told["addresses"]:
        day = "warm" if one["warm"] else f"{one['day']}/{one['days']}"
        first = [_plain(one[key]) for key in ("address", "plan", "since")] + [day]
        sites = [[_plain(each[key]) for key in ("site", "sent", "left")] for each in one["sites"]]
        if not sites and one["counted"]:
            sites = [["...", "", ""]]
        elif not sites:
            sites = [["-", "", ""] if one["warm"] else ["-", "0", "0" if one["closed"] else _plain(one["amount"])]]
        for number, site in enumerate(sites):
            rows.append((first if not number else [""] * 4) + site)
        if one["closed"]:
            notes.append(f"{first[0]}: nothing more today, for it isn't known what was sent")
        if not one_site and one["counted"] > len(one["sites"]):
            more = one["counted"] - len(one["sites"])
            notes.append(f"{first[0]}: {more} more sites; --address shows the first 1,000, --site any")
    if not rows:
        return ["No address has a warm-up plan."]
    widths = [max(len(row[column]) for row in (_HEADINGS, *rows)) for column in range(len(_HEADINGS))]
    table = [
        "  ".join(
            cell.rjust(width) if heading in ("SENT", "LEFT") else cell.ljust(width)
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in (_HEADINGS, *rows)
    ]
    return [*table, *notes, f"The amounts change at {_plain(told['until'])}."]


def _plain(value: object) -> str:
    """For a terminal: names come from other people's DNS."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


COMMAND = Command("warmup", "show what addresses in warm-up have sent today", _arguments, run)
