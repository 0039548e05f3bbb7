"""`zonerelay why`: what a delivery waits for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ID[.SEQ]", help="a delivery, or a message with all of its deliveries")
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        told = api.ask("GET", f"/v1/deliveries/{quote(arguments.name, safe='')}/why")
        if arguments.json:
            print(json.dumps(told, indent=2))
            return
        try:
            each = told.get("deliveries", [told])
            print("\n\n".join("\n".join(lines(one)) for one in each))
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that knows why") from None

    return asking(arguments, ask)


def lines(told: Any) -> Iterator[str]:
    """What the API says of a delivery, for people."""
    wait = told["waits_for"]
    yield f"{plain(told['id'])}.{plain(told['seq'])} to {plain(told['recipient'])}: {plain(told['state'])}"
    yield f"  waits for  {plain(wait['limit'])} ({plain(wait['kind'])})"
    if wait["since"]:
        yield f"  since      {plain(wait['since'])}"
    yield f"  ends with  {plain(wait['freed_by'])}" + (f", at {plain(wait['until'])}" if wait["until"] else "")
    if told["next_try"]:
        yield f"  next try   {plain(told['next_try'])}"
    if told["last_reply"]:
        yield f"  last reply {plain(told['last_reply'])}"
    if told["meaning"]:
        yield f"  means      {plain(told['meaning'])} ({plain(told['category'])})"
    if told["before"]:
        yield f"  before it  {plain(told['before'])} of the same user to the same domain"
    where = [f"zone {plain(told['zone'])}", f"domain {plain(told['domain'])}"]
    where += [f"{key} {plain(told[key])}" for key in ("site", "user") if told[key]]
    if told["priority"] != "normal":
        where.append(f"priority {plain(told['priority'])}")
    yield "  goes by    " + ", ".join(where)


COMMAND = Command("why", "say what a delivery waits for", _arguments, run)
