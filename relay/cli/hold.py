"""`zonerelay hold`, `release` and `holds`: stop mail by what it is, let it go, see what is stopped."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from relay.cli.api import Api, api_arguments, asking, named, plain
from relay.cli.command import Command, Start
from relay.cli.moment import moment

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
    api_arguments(parser)


def _release_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as hold and holds print it")
    api_arguments(parser)


def hold(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the hold that is now in force."""

    def ask(api: Api) -> None:
        fields = {key: getattr(arguments, key) for key in (*_NAMES, "everything", "reason", "duration")}
        fields["until"] = moment(arguments.until, "--until")
        made = api.ask("POST", "/v1/holds", {key: value for key, value in fields.items() if value})
        print(f"{plain(made['id'])}: {named(made)}: held {_end(made)}")

    return asking(arguments, ask)


def release(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the hold that has ended."""

    def ask(api: Api) -> None:
        ended = api.ask("DELETE", f"/v1/holds/{quote(arguments.id, safe='')}")
        print(f"{plain(ended['id'])}: {named(ended)}: released")

    return asking(arguments, ask)


def holds(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each hold in force."""

    def ask(api: Api) -> None:
        for each in api.ask("GET", "/v1/holds")["holds"]:
            since = f"since {plain(each['since'])}, {_end(each)}"
            print(f"{plain(each['id'])}: {named(each)}: {since}: {plain(each['reason'])}")

    return asking(arguments, ask)


def _end(entry: dict[str, object]) -> str:
    return f"until {plain(entry['until'])}" if entry["until"] else "until it is released"


HOLD = Command("hold", "stop mail of a zone, domain, site, address or user", _hold_arguments, hold)
RELEASE = Command("release", "end a hold", _release_arguments, release)
HOLDS = Command("holds", "list what is on hold", api_arguments, holds)
