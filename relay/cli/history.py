"""`zonerelay history` and `zonerelay events`: what has become of mail, also of mail that is gone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.decisions import follow

_SOUGHT = ("message_id", "sender", "recipient")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ID[.SEQ]", nargs="?", help="a delivery, or a message with all its deliveries")
    parser.add_argument("--recipient", help="of whom is sought")
    parser.add_argument("--sender", help="whose is sought")
    parser.add_argument("--message-id", help="the Message-ID that is sought, with its angle brackets")
    for end, which in (("--since", "later"), ("--until", "before")):
        parser.add_argument(
            end, type=_moment, metavar="TIME", help=f"queued then or {which}, as 2026-12-01 or 2026-12-01T08:00 (UTC)"
        )
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints each step of a message, or the messages that are found, each with its last step. Returns 0, or 1 with the
    reason on standard error."""
    sought = {name: value for name in _SOUGHT if (value := getattr(arguments, name))}
    days = {name: value for name in ("since", "until") if (value := getattr(arguments, name)) is not None}

    def ask(api: Api) -> None:
        if bool(arguments.name) == bool(sought or days):
            raise ApiError(
                "give either the ID of a message, or some of --recipient, --sender, --message-id, --since, --until"
            )
        where = f"/{quote(arguments.name, safe='')}" if arguments.name else "?" + urlencode(sought | days)
        told = api.ask("GET", f"/v1/history{where}")
        if arguments.json:
            print(json.dumps(told, indent=2))
            return
        try:
            steps = told["events"] if arguments.name else [one["last"] for one in told["found"]]
            for step in steps:
                print(line(step))
            for spoken in told.get("dialogue", ()):
                print(spoken_line(spoken))
            if not steps:
                print("nothing is known of it")
            if told.get("more"):
                print("there may be more")
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that keeps a history") from None

    return asking(arguments, ask)


def _moment(text: str) -> int:
    """Milliseconds since the epoch; without an offset it is UTC, as everything that is printed."""
    try:
        moment = datetime.fromisoformat(text)
        return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-12-01T08:00, got {text[:40]!r}") from None


def _follow_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", default="", help="only these, such as bounced or deferred,expired")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those to come, until interrupted")
    parser.add_argument("--json", action="store_true", help="print each as a line of JSON")
    api_arguments(parser)


def run_events(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the latest 100 events, one a line, oldest first; with --follow those to come too."""

    def show(told: Any) -> int:
        for step in told["events"]:
            print(json.dumps(step) if arguments.json else line(step))
        sys.stdout.flush()
        return int(told["next"])

    def ask(api: Api) -> None:
        kind = f"&kind={quote(arguments.kind, safe='')}" if arguments.kind else ""
        after = show(api.ask("GET", f"/v1/events?limit=100{kind}"))
        if arguments.follow:
            follow(api, f"/v1/events?limit=1000{kind}", after, time.sleep, show)

    try:
        return asking(arguments, ask)
    except KeyboardInterrupt:
        return 0


def line(step: Any) -> str:
    """An event for people."""
    return " ".join(_words(step))


def spoken_line(spoken: Any) -> str:
    """A line of the dialogue of a failure: when, who to whom, and what."""
    mark = {"host": "<", "relay": ">"}.get(spoken["who"], "-")
    return f"  {_clock(spoken['time'])} {mark} {plain(spoken['text'])}"


def _clock(time_ms: int) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}"


def _words(step: Any) -> Iterator[str]:
    yield time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step["time"] / 1000))
    if "id" in step:
        yield plain(step["id"]) + (f".{step['seq']:03x}" if "seq" in step else "")
    yield plain(step["kind"]) + ":"
    if "sender" in step or "recipient" in step:
        to = step.get("recipient") or f"{step.get('recipients', 0)} recipients"
        yield f"from <{plain(step.get('sender', ''))}> to <{plain(to)}>"
    if "host" in step:
        yield f"by {plain(step['host'])}[{plain(step.get('host_address', ''))}]"
    if "what" in step:
        yield f"{plain(step['what'])}, {plain(step.get('about', ''))}"
    if step["kind"] == "audit":
        yield f"by {plain(step.get('user', ''))} at {plain(step.get('client', ''))}"
    if "category" in step:
        yield f"({plain(step['category'])})"
    for key in ("reply", "reason"):
        if key in step:
            yield f"- {plain(step[key])}"


HISTORY = Command("history", "show what has become of mail", _arguments, run)
EVENTS = Command("events", "show what happens", _follow_arguments, run_events)
