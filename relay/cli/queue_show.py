"""`zonerelay queue show`: a message and its deliveries, one delivery with all that is known of it, or the text."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from relay.cli import why
from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.history import line, spoken_line
from relay.cli.screen import print_json, print_table
from relay.cli.table import Column, ago

_COLUMNS = (
    Column("SEQ"),
    Column("STATE"),
    Column("TRIES", right=True, spare=True),
    Column("NEXT", right=True),
    Column("ZONE", least=6, spare=True),
    Column("TO", least=14),
    Column("LAST REPLY", least=14),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ID[.SEQ]", help="a message, or a delivery, also one that has ended")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--headers", action="store_true", help="the header of the message")
    what.add_argument("--text", action="store_true", help="the text of the message, as it is stored")
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        name, id = (quote(each, safe="") for each in (arguments.name, arguments.name.partition(".")[0]))
        try:
            if arguments.text:
                _write(api, id)
            elif arguments.headers:
                _print(api.ask("GET", f"/v1/messages/{id}/headers"), _header, arguments.json)
            elif "." in arguments.name:
                _print(api.ask("GET", f"/v1/deliveries/{name}"), _delivery, arguments.json)
            else:
                _print(api.ask("GET", f"/v1/messages/{name}"), _message, arguments.json)
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that shows its mail") from None

    return asking(arguments, ask)


def _write(api: Api, id: str) -> None:
    """As it is for a file or a program; made plain for a terminal."""
    for data in api.take(f"/fetch/{id}"):
        if sys.stdout.isatty():
            text = data.decode("utf-8", "replace").replace("\r\n", "\n")
            print("\n".join(map(plain, text.split("\n"))), end="")
        else:
            sys.stdout.buffer.write(data)
    sys.stdout.flush()


def _print(told: Any, lines: Any, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    for each in lines(told):
        print(each)
    if lines is _message and told["deliveries"]:
        print()
        now = time.time()
        print_table(_COLUMNS, [_row(one, now) for one in told["deliveries"]])
        if told["more"]:
            print(f"and more: zonerelay queue ls --limit 0 --id {plain(told['id'])}")


def _header(told: Any) -> Iterator[str]:
    for field in told["fields"]:
        yield f"{plain(field['name'])}: {plain(field['value'])}"


def _message(told: Any) -> Iterator[str]:
    origin = told["origin"]
    yield f"{plain(told['id'])} from <{plain(told['sender'])}>, {told['size']:,} bytes"
    yield f"  taken      {plain(told['taken'])} for {told['recipients']:,} recipient{'s' * (told['recipients'] != 1)}"
    came = [plain(origin["listener"]), f"from {_client(origin)}"]
    came += [f"user {plain(origin['user'])}"] if origin["user"] else []
    yield f"  came by    {', '.join(came)}"
    yield f"  Message-ID {plain(told['message_id'])}"
    if told["tenant"]:
        yield f"  tenant     {plain(told['tenant'])}"
    if told["tags"]:
        yield f"  tags       {', '.join(map(plain, told['tags']))}"
    for name, value in told["metadata"].items():
        yield f"  metadata   {plain(name)}: {plain(value)}"


def _client(origin: dict[str, Any]) -> str:
    name, address = plain(origin["host"] or origin["helo"]), plain(origin["address"])
    return name if name == f"[{address}]" else f"{name}[{address}]"


def _delivery(told: Any) -> Iterator[str]:
    if told["why"] is not None:
        yield from why.lines(told["why"])
    else:
        yield f"{plain(told['name'])}: not in the queue any more"
    if told["events"]:
        yield ""
    for step in told["events"]:
        yield line(step)
    for spoken in told["dialogue"]:
        yield spoken_line(spoken)


def _row(one: dict[str, Any], now: float) -> tuple[object, ...]:
    next_try = ago(one["due"], now) if one["state"] == "deferred" else ""
    reply = one["held"] or one["last_reply"]
    return one["seq"], one["state"], one["attempts"] or "", next_try, one["zone"], one["recipient"], reply


COMMAND = Command("show", "show a message with its deliveries, or a delivery with all that is known", _arguments, run)
