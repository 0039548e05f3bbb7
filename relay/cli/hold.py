"""`zonerelay suspend`, `resume` and `holds`: stop mail by what it is, let it go, see what is stopped."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from relay.cli.api import Api, ApiError, api_arguments, asking, named, plain
from relay.cli.command import Command, Start
from relay.cli.moment import moment
from relay.cli.screen import print_json

_NAMES = {
    "zone": "mail of this sending zone",
    "domain": "mail to this recipient domain",
    "site": "mail to the domains of this site",
    "address": "don't send from this local address",
    "user": "mail that this user has submitted",
}


def _hold_arguments(parser: argparse.ArgumentParser) -> None:
    for name, text in _NAMES.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), default="", help=text)
    parser.add_argument("--everything", action="store_true", help="all mail there is")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; shown wherever the hold is")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--for", dest="duration", metavar="TIME", default="", help='such as "2h"; default: until released')
    end.add_argument("--until", metavar="TIME", default="", help='such as "2026-12-01T08:00", of this machine\'s zone')
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def _release_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="as suspend and holds print it")
    for name in _NAMES:
        parser.add_argument(f"--{name}", metavar=name.upper(), default="", help="the holds of exactly what is named")
    parser.add_argument("--everything", action="store_true", help="the holds of all mail; others go on")
    api_arguments(parser)


def _holds_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def hold(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the hold that is now in force."""

    def ask(api: Api) -> None:
        fields = {key: getattr(arguments, key) for key in (*_NAMES, "everything", "reason", "duration")}
        fields["until"] = moment(arguments.until, "--until")
        made = api.ask("POST", "/v1/holds", {key: value for key, value in fields.items() if value})
        if arguments.json:
            print_json(made)
        else:
            print(f"{plain(made['id'])}: {named(made)}: held {_end(made)}")

    return asking(arguments, ask)


def release(arguments: argparse.Namespace, start: Start) -> int:
    """Prints each hold that has ended."""

    def ask(api: Api) -> None:
        scope = {name: value for name in _NAMES if (value := getattr(arguments, name))}
        if sum(map(bool, (arguments.id, scope, arguments.everything))) != 1:
            raise ApiError("expected the ID of a hold, or what it names, or --everything")
        ids = [arguments.id] if arguments.id else _ids(api, scope)
        for id in ids:
            ended = api.ask("DELETE", f"/v1/holds/{quote(id, safe='')}")
            print(f"{plain(ended['id'])}: {named(ended)}: released")
        if not ids:
            raise ApiError(f"there is no hold of {named(scope)}")

    return asking(arguments, ask)


def _ids(api: Api, scope: dict[str, str]) -> list[str]:
    """The holds that name exactly this; nothing: everything."""
    return [
        one["id"]
        for one in api.ask("GET", "/v1/holds")["holds"]
        if all(one.get(name, "").lower() == scope.get(name, "").lower() for name in _NAMES)
    ]


def holds(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each hold in force."""

    def ask(api: Api) -> None:
        told = api.ask("GET", "/v1/holds")
        if arguments.json:
            print_json(told)
            return
        for each in told["holds"]:
            since = f"since {plain(each['since'])}, {_end(each)}"
            print(f"{plain(each['id'])}: {named(each)}: {since}: {plain(each['reason'])}")

    return asking(arguments, ask)


def _end(entry: dict[str, object]) -> str:
    return f"until {plain(entry['until'])}" if entry["until"] else "until it is released"


HOLD = Command("suspend", "stop mail of a zone, domain, site, address or user", _hold_arguments, hold, ("hold",))
RELEASE = Command("resume", "let go what was stopped", _release_arguments, release, ("release",))
HOLDS = Command("holds", "list what is stopped", _holds_arguments, holds)
