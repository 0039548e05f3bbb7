"""`zonerelay suppress`: who gets no mail; add, remove, check, list, import, export."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from urllib.parse import urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.screen import print_json, print_table
from relay.cli.table import Column

_PATH = "/v1/suppressions"
_SOURCES = ("manual", "bounce", "complaint", "unsubscribe", "import")
#: Lines of an import that are printed for what is wrong with them.
_SHOWN = 20
_COLUMNS = (
    Column("WHOM", least=16),
    Column("TENANT", least=6, spare=True),
    Column("SOURCE"),
    Column("SINCE"),
    Column("UNTIL"),
    Column("REASON", least=10),
    Column("ID", spare=True),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    whom = {"metavar": "WHOM", "help": "an address, or a domain"}
    tenant = {"metavar": "NAME", "help": "only mail of this organisation, or user without one; default: all mail"}
    for name, aliases, text in (
        ("add", (), "put an address or a domain on the list"),
        ("remove", ("rm",), "take one off the list"),
        ("check", (), "whether an address gets mail; exit code 1: it doesn't"),
        ("list", ("ls",), "the entries, newest first"),
        ("import", (), "put a CSV file on the list"),
        ("export", (), "the list as CSV, on standard output"),
    ):
        action = actions.add_parser(name, aliases=aliases, help=text, description=text)
        action.set_defaults(action=name)
        if name in ("add", "remove", "check"):
            action.add_argument("whom", **whom)  # type: ignore[arg-type]
        if name == "import":
            action.add_argument("file", metavar="FILE", help='"-": standard input')
        action.add_argument("--tenant", **tenant)  # type: ignore[arg-type]
        if name in ("add", "import"):
            action.add_argument("--reason", metavar="TEXT", default="", help="why; shown wherever the entry is")
        if name == "add":
            action.add_argument("--for", dest="duration", metavar="TIME", default="", help='such as "90d"')
        if name in ("list", "export"):
            action.add_argument("--source", choices=_SOURCES, help="only those that came so")
            action.add_argument("--domain", metavar="DOMAIN", help="only those of this domain")
        if name != "export":
            text = "print each as a line of JSON" if name == "list" else "print what the API says"
            action.add_argument("--json", action="store_true", help=text)
        api_arguments(action)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""
    code = 0

    def ask(api: Api) -> None:
        nonlocal code
        try:
            code = _ACTIONS[arguments.action](api, arguments) or 0
        except (KeyError, TypeError, AttributeError):
            raise ApiError("what answers is no relay that knows who gets no mail") from None

    return asking(arguments, ask) or code


def _add(api: Api, arguments: argparse.Namespace) -> None:
    fields = {**_about(arguments.whom), "reason": arguments.reason, "duration": arguments.duration}
    _tell(arguments, api.ask("POST", _PATH, {**fields, "tenant": arguments.tenant or ""}), "")


def _remove(api: Api, arguments: argparse.Namespace) -> None:
    fields = {**_about(arguments.whom), "tenant": arguments.tenant or ""}
    _tell(arguments, api.ask("DELETE", f"{_PATH}?{urlencode(fields)}"), ": removed")


def _check(api: Api, arguments: argparse.Namespace) -> int:
    told = api.ask("GET", f"{_PATH}?{urlencode({'address': arguments.whom, 'tenant': arguments.tenant or ''})}")
    if arguments.json:
        print_json(told)
        return int(told["suppressed"])
    if not told["suppressed"]:
        print(f"{plain(told['address'])}: gets mail")
        return 0
    print(f"{plain(told['address'])}: gets no mail: {_line(told['suppression'])}")
    return 1


def _list(api: Api, arguments: argparse.Namespace) -> None:
    fields = {**_filters(arguments), "limit": "1000"}
    while True:
        told = api.ask("GET", f"{_PATH}?{urlencode(fields)}")
        entries = told["suppressions"]
        if arguments.json:
            for entry in entries:
                print(json.dumps(entry))
        elif entries:
            print_table(_COLUMNS, map(_row, entries))
        if "cursor" not in told:
            return
        fields["cursor"] = told["cursor"]


def _import(api: Api, arguments: argparse.Namespace) -> int:
    query = {"tenant": arguments.tenant or "", "reason": arguments.reason}
    try:
        with open(0 if arguments.file == "-" else arguments.file, "rb", closefd=arguments.file != "-") as file:
            told = api.give("POST", f"{_PATH}/import?{urlencode(query)}", file, "text/csv")
    except OSError as error:
        raise ApiError(f"{arguments.file}: {error.strerror}") from None
    if arguments.json:
        print_json(told)
        return 1 if told["bad"] else 0
    for fault in told["faults"][:_SHOWN]:
        print(f"line {plain(fault['line'])}: {plain(fault['message'])}", file=sys.stderr)
    if told["bad"] > _SHOWN:
        print(f"... {plain(told['bad'])} lines in all were not taken", file=sys.stderr)
    print(f"{plain(told['added'])} added, {plain(told['unchanged'])} known, {plain(told['bad'])} bad")
    return 1 if told["bad"] else 0


def _export(api: Api, arguments: argparse.Namespace) -> None:
    for data in api.take(f"{_PATH}/export?{urlencode(_filters(arguments))}"):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


_ACTIONS = {
    "add": _add,
    "remove": _remove,
    "check": _check,
    "list": _list,
    "import": _import,
    "export": _export,
}


def _about(whom: str) -> dict[str, str]:
    return {"address" if "@" in whom[1:] else "domain": whom}


def _filters(arguments: argparse.Namespace) -> dict[str, str]:
    given = {name: getattr(arguments, name) for name in ("tenant", "source", "domain")}
    return {name: value for name, value in given.items() if value is not None}


def _tell(arguments: argparse.Namespace, entry: dict[str, Any], end: str) -> None:
    if arguments.json:
        print_json(entry)
    else:
        print(_line(entry) + end)


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    """Of `_COLUMNS`."""
    since, until = (when[:10] if when else "" for when in (entry["created"], entry["expires"]))
    return _whom(entry), entry["tenant"], entry["source"], since, until, entry["reason"], entry["id"]


def _whom(entry: dict[str, Any]) -> str:
    return str(entry["address"] if "address" in entry else entry["domain"])


def _line(entry: dict[str, Any]) -> str:
    """An entry for people."""
    words = [f"{plain(entry['id'])}: {plain(_whom(entry))}"]
    if entry["tenant"]:
        words.append(f"from {plain(entry['tenant'])}")
    words.append(f"{plain(entry['source'])} of {plain(entry['created'])}")
    if entry["expires"]:
        words.append(f"until {plain(entry['expires'])}")
    return ", ".join(words) + (f": {plain(entry['reason'])}" if entry["reason"] else "")


COMMAND = Command("suppress", "see and change who gets no mail", _arguments, run, ("suppression",))
