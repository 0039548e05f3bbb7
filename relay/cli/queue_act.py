"""`zonerelay queue hold`, `release`, `retry`, `bounce`, `delete`, `move`: done to those that are named, or to all that
fit, after these were counted and the operator has said yes."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.progress import Progress
from relay.cli.screen import print_json
from relay.cli.wanted import filter_arguments, filter_of

#: How often it is asked how far a job is, and how long the first answer may wait for its end (seconds).
_EVERY, _SOON = 0.5, 1


class _Act(NamedTuple):
    """What it is called here, in the API, and when it is done."""

    name: str
    verb: str
    done: str
    help: str


_ACTS = (
    _Act("hold", "hold", "held", "put deliveries aside until they are released"),
    _Act("release", "release", "released", "let go what was put aside"),
    _Act("retry", "send-now", "due now", "try deliveries now, also those that are put aside"),
    _Act("bounce", "bounce", "bounced", "return deliveries to their senders"),
    _Act("delete", "delete", "deleted", "strike deliveries off; nobody is told"),
    _Act("move", "move", "moved", "move deliveries to another zone"),
)


def _arguments(act: _Act, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="ID[.SEQ]", nargs="*", help="deliveries, or one message with all of its own")
    filter_arguments(parser)
    parser.add_argument("--everything", action="store_true", help="all there is in the queue")
    if act.name in ("hold", "bounce"):
        text = "why; the sender reads it" if act.name == "bounce" else "why; shown wherever it is"
        parser.add_argument("--because", metavar="TEXT", default="", help=text)
    if act.name == "move":
        parser.add_argument("--to", metavar="ZONE", required=True, help="where to")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only count them")
    parser.add_argument("-y", "--yes", action="store_true", help="don't ask whether it is meant")
    parser.add_argument("--json", action="store_true", help="print what the API says in the end; needs --yes")
    api_arguments(parser)


def run(act: _Act, arguments: argparse.Namespace, start: Start) -> int:
    """Prints what was done. Returns 0, or 1: it was not done, or not all of it, or nothing was there to be done to."""
    code = 0

    def ask(api: Api) -> None:
        nonlocal code
        try:
            code = _act(api, act, arguments)
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that acts on its queue") from None

    return asking(arguments, ask) or code


def _act(api: Api, act: _Act, arguments: argparse.Namespace) -> int:
    order = {"action": act.verb, **_which(arguments)}
    if because := getattr(arguments, "because", ""):
        order["reason"] = because
    if act.name == "move":
        order["zone"] = arguments.to
    if arguments.dry_run or not (arguments.names or arguments.yes):
        counted = _finished(api, {**order, "dry_run": True}, "counting")
        if arguments.dry_run and arguments.json:
            print_json(counted)
            return 0
        if arguments.dry_run or not counted["total"]:
            print(f"{_deliveries(counted['total'])} would be {act.done}")
            return 0 if counted["total"] else 1
        if not _is_meant(act, counted["total"]):
            print("nothing was done")
            return 1
    job = _finished(api, order, act.name)
    if arguments.json:
        print_json(job)
    else:
        print(_told(act, job))
    return 0 if job["stage"] == "done" and job["done"] and not job["in_hand"] + job["unreadable"] else 1


def _which(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raises ApiError: it isn't clear."""
    named, fields, everything = arguments.names, filter_of(arguments), arguments.everything
    if sum(map(bool, (named, fields, everything))) != 1:
        raise ApiError("expected names, or options that say which deliveries, or --everything")
    if len(named) == 1 and "." not in named[0]:
        return {"filter": {"id": named[0]}}
    if named:
        return {"names": named}
    return {"filter": fields or {"everything": True}}


def _finished(api: Api, order: dict[str, Any], what: str) -> Any:
    """The job at its end; it is shown how far it is. Interrupted, it is cancelled."""
    job = api.ask("POST", "/v1/queue/actions", {**order, "wait": _SOON})
    if job["ended"] is not None:
        return job
    path = f"/v1/jobs/{quote(job['id'], safe='')}"
    with Progress(what) as progress:
        try:
            while job["ended"] is None:
                progress.show(_seen(job), job["total"], job["stage"] == "counting")
                time.sleep(_EVERY)
                job = api.ask("GET", path)
        except KeyboardInterrupt:
            api.ask("DELETE", path)
            while (job := api.ask("GET", path))["ended"] is None:
                time.sleep(_EVERY)
    return job


def _is_meant(act: _Act, count: int) -> bool:
    """Raises ApiError: there is nobody to ask."""
    if not sys.stdin.isatty():
        raise ApiError(f"{_deliveries(count)} would be {act.done}: say --yes")
    print(f"{act.name} {_deliveries(count)}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _seen(job: dict[str, Any]) -> int:
    return sum(job[name] for name in ("done", "unchanged", "in_hand", "gone", "unreadable"))


def _told(act: _Act, job: dict[str, Any]) -> str:
    words = [f"{_deliveries(job['done'])} {act.done}"]
    for name, text in (
        ("unchanged", "unchanged"),
        ("in_hand", "left alone: they are being delivered"),
        ("gone", "gone before"),
        ("unreadable", "can't be read"),
    ):
        if job[name]:
            words.append(f"{plain(job[name])} {text}")
    if job["stage"] != "done":
        words.append(f"{plain(job['stage'])}" + (f": {plain(job['error'])}" if job["error"] else ""))
    return ", ".join(words)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count:,} deliveries"


COMMANDS = tuple(Command(act.name, act.help, partial(_arguments, act), partial(run, act)) for act in _ACTS)
