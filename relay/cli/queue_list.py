"""`zonerelay queue ls`: what is in the queue, or what of it fits."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from relay.cli.api import Api, ApiError, api_arguments, asking
from relay.cli.command import Command, Start
from relay.cli.paging import parts
from relay.cli.screen import print_table
from relay.cli.table import Column, ago
from relay.cli.wanted import filter_arguments, filter_of

_COLUMNS = (
    Column("NAME"),
    Column("STATE"),
    Column("AGE", right=True),
    Column("TRIES", right=True, spare=True),
    Column("NEXT", right=True),
    Column("ZONE", least=6, spare=True),
    Column("FROM", least=12, spare=True),
    Column("TO", least=14),
    Column("LAST REPLY", least=14),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    filter_arguments(parser)
    parser.add_argument("--limit", metavar="N", type=int, default=100, help="so many; 0: all; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print each as a line of JSON")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each delivery; a page at a time, where there are many."""

    def ask(api: Api) -> None:
        left = arguments.limit or sys.maxsize
        fields = filter_of(arguments)
        found = more = 0
        try:
            for items in parts(api, "/v1/queue", fields, left + 1):
                shown, more = items[:left], len(items) > left
                found, left = found + len(shown), left - len(shown)
                _print(shown, arguments.json)
                if more:
                    break
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay whose queue can be searched") from None
        if not arguments.json:
            _tell(found, bool(more), bool(fields))

    return asking(arguments, ask)


def _print(items: list[Any], as_json: bool) -> None:
    if as_json:
        for one in items:
            print(json.dumps(one))
    elif items:
        now = time.time()
        print_table(_COLUMNS, [_row(one, now) for one in items])
    sys.stdout.flush()


def _row(one: dict[str, Any], now: float) -> tuple[object, ...]:
    waits = one["state"] == "deferred"
    return (
        one["name"],
        one["state"],
        ago(one["taken"], now),
        one["attempts"] or "",
        ago(one["due"], now) if waits else "",
        one["zone"],
        "?" if one["sender"] is None else one["sender"] or "<>",
        one["recipient"],
        one["held"] or one["last_reply"],
    )


def _tell(found: int, more: bool, filtered: bool) -> None:
    if not found:
        print("nothing in the queue fits" if filtered else "the queue is empty")
    elif more:
        print(f"and more: --limit shows more than {found}, and the other options narrow it")


COMMAND = Command("ls", "list what is in the queue, or what of it fits", _arguments, run, ("list",))
