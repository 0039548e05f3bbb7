"""`zonerelay tls-report`: what TLS came to today, one domain's report as it would be now, or all of them sent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start

_PATH = "/v1/tls-reports"


def _arguments(parser: argparse.ArgumentParser) -> None:
    api_arguments(parser)
    parser.add_argument("domain", metavar="DOMAIN", nargs="?", default="", help="print its report as it is now (JSON)")
    parser.add_argument("--send", action="store_true", help="close the day now and send its reports")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        try:
            for line in _lines(api, arguments.domain, arguments.send):
                print(line)
        except (KeyError, TypeError, AttributeError):
            raise ApiError("what answers is no relay that knows TLS reports") from None

    return asking(arguments, ask)


def _lines(api: Api, domain: str, send: bool) -> Iterator[str]:
    if domain and send:
        raise ApiError("expected a domain or --send, not both")
    if domain:
        yield json.dumps(api.ask("GET", f"{_PATH}/{quote(domain, safe='')}"), indent=2)
    elif send:
        domains = api.ask("POST", f"{_PATH}/send")["domains"]
        yield f"Reports to {plain(domains)} domains are on their way, as far as they are wanted."
    else:
        yield from _table(api)


def _table(api: Api) -> Iterator[str]:
    """All domains of today, a line for each policy; then what waits, and what was sent."""
    after = ""
    while True:
        told = api.ask("GET", f"{_PATH}?{urlencode({'after': after, 'limit': 1000})}")
        if not after:
            yield f"Since {plain(told['since'])}:"
        for one in told["domains"]:
            for policy in one["policies"]:
                yield f"{plain(one['domain'])}  {plain(policy['type'])}  {_counted(policy)}"
        after = told["next"]
        if not after:
            break
    if told["passed_over"]:
        yield f"{plain(told['passed_over'])} connections are in no count: there were too many domains or policies."
    for day in told["waiting"]:
        yield f"Of {plain(day['begin'])} to {plain(day['end'])} {plain(day['domains'])} domains wait for their report."
    yield from _sent(told["sent"])


def _sent(sent: Any) -> Iterator[str]:
    for one in sent:
        fate = f"given up: {plain(one['error'])}" if one["error"] else "sent"
        yield f"{plain(one['time'])}  {plain(one['domain'])}  {plain(one['uri'])}  {fate}"


def _counted(policy: Any) -> str:
    failures = ", ".join(f"{plain(count)} {plain(failure)}" for failure, count in policy["failures"].items())
    return f"{plain(policy['agreed'])} with TLS" + (f"; {failures}" if failures else "")


COMMAND = Command("tls-report", "show what TLS came to today, and send reports of it", _arguments, run)
