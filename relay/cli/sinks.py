"""`zonerelay sinks`: where events are handed on to, how far each is and what came of it; hand events on again."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.moment import moment
from relay.cli.screen import print_json

_UNDER_WAY = ("under way", "waiting")


def _arguments(parser: argparse.ArgumentParser) -> None:
    _json_argument(parser, False)
    api_arguments(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    shown = _action(actions, "deliveries", "show what was handed on to one lately, batch by batch")
    shown.add_argument("--limit", type=int, default=100, metavar="COUNT", help="so many, at most 500; default: 100")
    replay = _action(actions, "replay", "hand events on to one again")
    begin = replay.add_mutually_exclusive_group(required=True)
    begin.add_argument("--after", type=int, metavar="NUMBER", help="those behind the event of this number")
    begin.add_argument("--since", metavar="TIME", default="", help='those from then on, such as "2026-12-01T08:00"')
    begin.add_argument("--cancel", action="store_true", help="end the one that is under way")
    replay.add_argument("--until", metavar="NUMBER|TIME", default="", help="up to that; default: all that it has had")
    _action(actions, "resume", "have one try now what it waits with after a failure")


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.add_argument("name", metavar="NAME", help="of the sink")
    _json_argument(parser, argparse.SUPPRESS)
    api_arguments(parser, inherited=True)
    return parser


def _json_argument(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--json", action="store_true", default=default, help="print what the API says")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each sink, or what an action comes to; returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        try:
            answer, lines = _ACTIONS[arguments.action](api, arguments)
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that has sinks") from None
        if arguments.json:
            print_json(answer)
            return
        for line in lines:
            print(line)

    return asking(arguments, ask)


#: What the API says, and that in lines.
_Told = tuple[Any, list[str]]


def _list(api: Api, arguments: argparse.Namespace) -> _Told:
    told = api.ask("GET", "/v1/sinks")
    return told, [_line(sink) for sink in told["sinks"]] or ["events are handed on to nobody"]


def _deliveries(api: Api, arguments: argparse.Namespace) -> _Told:
    """The oldest first."""
    told = api.ask("GET", f"{_path(arguments)}/deliveries?limit={arguments.limit}")
    return told, [_batch_line(batch) for batch in reversed(told["items"])]


def _replay(api: Api, arguments: argparse.Namespace) -> _Told:
    path, name = f"{_path(arguments)}/replay", plain(arguments.name)
    if arguments.cancel and arguments.until:
        raise ApiError("--until: of no use with --cancel")
    if arguments.cancel:
        told = api.ask("DELETE", path)
        return told, [f"{name}: ended at {plain(told['at'])} of {plain(told['until'])}"]
    fields: dict[str, object] = {}
    if arguments.after is not None:
        fields["after"] = arguments.after
    else:
        fields["since"] = moment(arguments.since, "--since")
    if arguments.until:
        until = arguments.until
        fields["until"] = int(until) if until.isascii() and until.isdigit() else moment(until, "--until")
    told = api.ask("POST", path, fields)
    return told, [f"{name}: events behind {plain(told['after'])} up to {plain(told['until'])} are handed on again"]


def _resume(api: Api, arguments: argparse.Namespace) -> _Told:
    told = api.ask("POST", f"{_path(arguments)}/resume")
    return told, [_line(told)]


_ACTIONS = {None: _list, "deliveries": _deliveries, "replay": _replay, "resume": _resume}


def _path(arguments: argparse.Namespace) -> str:
    return f"/v1/sinks/{quote(arguments.name, safe='')}"


def _line(sink: dict[str, Any]) -> str:
    words = f"{plain(sink['name'])}: {plain(sink['kind'])} to {plain(sink['where'])}: {plain(sink['state'])}"
    if sink["until"]:
        words += f" until {plain(sink['until'])}"
    words += f", {plain(sink['behind'])} behind"
    for key, text in (("aside", "set aside"), ("missed", "missed")):
        if sink[key]:
            words += f", {plain(sink[key])} {text}"
    replay = sink["replay"]
    if replay and replay["state"] in _UNDER_WAY:
        words += f", replay at {plain(replay['at'])} of {plain(replay['until'])}"
    return words + (f": {plain(sink['trouble'])}" if sink["trouble"] else "")


def _batch_line(batch: dict[str, Any]) -> str:
    words = ["taken" if batch["taken"] else "not taken"]
    if batch["tries"] > 1:
        words.append(f"{batch['tries']} tries")
    words.append(f"{batch['seconds']} s")
    if batch["next"]:
        words.append(f"again at {batch['next']}")
    what = f"{batch['count']} event{'' if batch['count'] == 1 else 's'}, {batch['first']} to {batch['last']}"
    line = f"{batch['time']}: {what}{', again' if batch['replay'] else ''}: {', '.join(words)}"
    for key in ("trouble", "said"):
        line += f": {batch[key]}" if batch[key] else ""
    return plain(line)


COMMAND = Command("sinks", "show where events are handed on to, and hand them on again", _arguments, run)
