"""`zonerelay warmup`: where each address in a warm-up plan stands today, and what its sites got."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from relay.cli.command import Command, Start, config_argument
from relay.config import endpoints
from relay.config.load import ConfigError, load

_TIMEOUT = 30.0
_LARGEST = 16 * 1024 * 1024
_HEADINGS = ("ADDRESS", "PLAN", "SINCE", "DAY", "SITE", "SENT", "LEFT")


def _arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument("--api", metavar="URL", default="", help="default: api.endpoint of the configuration")
    parser.add_argument("--address", metavar="IP", default="", help="this local address alone")
    parser.add_argument("--site", default="", help="this site alone, whether or not it got anything")
    parser.add_argument("--json", action="store_true", help="print what the API says")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""
    try:
        api = arguments.api or _from_config(arguments.config)
        asked = {key: value for key in ("address", "site") if (value := getattr(arguments, key))}
        told = _fetched(api, "/v1/warmup" + (f"?{urlencode(asked)}" if asked else ""))
        lines = [json.dumps(told, indent=2)] if arguments.json else _lines(told, bool(arguments.site))
    except (ConfigError, ValueError, OSError, http.client.HTTPException) as error:
        print(f"zonerelay: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError):
        print(f"zonerelay: {api}: what answers is no relay that knows warm-up", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _from_config(path: str) -> str:
    endpoint = endpoints.read(load(path).api.endpoint)
    if not endpoint.port:
        raise ValueError(f"{path}: api.endpoint is no TCP port; expected --api with a URL")
    any_address = "::1" if endpoint.kind == "tcp6" or endpoint.interface == "::" else "127.0.0.1"
    host = any_address if endpoint.interface in ("", "0.0.0.0", "::") else endpoint.interface
    return f"http://[{host}]:{endpoint.port}" if ":" in host else f"http://{host}:{endpoint.port}"


def _fetched(api: str, path: str) -> Any:
    parts = urlsplit(api)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f'expected a URL such as "http://127.0.0.1:8080", got {_plain(api)}')
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        response = connection.getresponse()
        body = response.read(_LARGEST)
    except OSError as error:
        raise OSError(f"{_plain(api)}: {error}") from error
    finally:
        connection.close()
    try:
        told = json.loads(body)
    except ValueError:
        raise ValueError(f"{_plain(api)}: it answers {response.status} and no JSON") from None
    if response.status != 200:
        said = told.get("message", told.get("error")) if isinstance(told, dict) else None
        raise ValueError(f"{_plain(api)}: {response.status}: {_plain(said)}")
    return told


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
