"""`zonerelay backoff`: who complains of which address and who doesn't answer; ended by hand if need be."""

from __future__ import annotations

import argparse
from urllib.parse import urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking, named, plain
from relay.cli.command import Command, Start
from relay.cli.screen import print_json

_NAMES = {"zone": "of this sending zone", "site": "towards this site", "address": "of this local address"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    for name, text in _NAMES.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), default="", help=text)
    parser.add_argument("--end", action="store_true", help="end what is named")
    parser.add_argument("--everything", action="store_true", help="with --end: all there is")
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each back-off in force, or how many were ended."""

    def ask(api: Api) -> None:
        scope = {name: value for name in _NAMES if (value := getattr(arguments, name))}
        if arguments.everything and (scope or not arguments.end):
            raise ApiError("--everything goes with --end, and with no name")
        if arguments.end:
            if not scope and not arguments.everything:
                raise ApiError(f"--end: expected one of {', '.join(f'--{name}' for name in _NAMES)}, or --everything")
            ended = api.ask("DELETE", "/v1/backoff?" + urlencode(scope or {"everything": "true"}))
            if arguments.json:
                print_json(ended)
            else:
                print(f"{plain(ended['ended'])} ended")
            return
        told = api.ask("GET", "/v1/backoff" + (f"?{urlencode(scope)}" if scope else ""))
        if arguments.json:
            print_json(told)
            return
        for each in told["backoff"]:
            allowed = "nothing goes" if not each["allowance"] else f"{plain(each['allowance'])} connections"
            until, reason = plain(each["until"]), plain(each["reason"])
            print(f"{named(each)}: {plain(each['kind'])}, {allowed} until {until}: {reason}")
        if told["more"]:
            print("and more: --zone, --site and --address narrow it")

    return asking(arguments, ask)


COMMAND = Command("backoff", "list complaints and outages that hold mail back, or end them", _arguments, run)
