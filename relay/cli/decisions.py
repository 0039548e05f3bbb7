"""`zonerelay decisions`: what the relay has decided about the flow of mail, and why."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from relay.cli.api import Api, NoAnswer, api_arguments, asking, named, plain
from relay.cli.command import Command, Start

#: How often a follower asks (seconds).
_EVERY = 1.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", default="", help="only these, such as held, suspended, blacklisted, recovered")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those to come, until interrupted")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the latest 100 decisions, one a line, oldest first; with --follow those to come too."""

    def ask(api: Api) -> None:
        kind = f"&kind={quote(arguments.kind, safe='')}" if arguments.kind else ""
        after = _show(api.ask("GET", f"/v1/decisions?limit=100{kind}"))
        if arguments.follow:
            follow(api, f"/v1/decisions?limit=1000{kind}", after, time.sleep, _show)

    try:
        return asking(arguments, ask)
    except KeyboardInterrupt:
        return 0


def follow(
    api: Api, path: str, after: int, pause: Callable[[float], None], show: Callable[[Any], int]
) -> None:
    """Shows what comes behind the number `after`, for ever; a relay that is being restarted is waited for. `show`
    prints an answer and gives the number behind it."""
    silent = False
    while True:
        pause(_EVERY)
        try:
            answer = api.ask("GET", f"{path}&after={after}")
        except NoAnswer as error:
            if not silent:
                print(f"zonerelay: {error}; still trying", file=sys.stderr)
            silent = True
            continue
        silent = False
        if answer["missed"]:
            print("zonerelay: some in between are forgotten", file=sys.stderr)
        after = show(answer)


def _show(answer: Any) -> int:
    """Prints the decisions of an answer; the cursor behind them."""
    for each in answer["decisions"]:
        until = f" until {plain(each['until'])}" if each["until"] else ""
        times = f" ({each['count']} times)" if each["count"] > 1 else ""
        print(f"{plain(each['time'])} {plain(each['kind'])}: {named(each)}{until}: {plain(each['reason'])}{times}")
    sys.stdout.flush()
    return int(answer["next"])


COMMAND = Command("decisions", "show what was decided about the flow of mail", _arguments, run)
