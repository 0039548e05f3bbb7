"""`zonerelay sinks`: where events are handed on to, and how far each is."""

from __future__ import annotations

import argparse

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.screen import print_json


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints a line for each sink."""

    def ask(api: Api) -> None:
        try:
            answer = api.ask("GET", "/v1/sinks")
            told = answer["sinks"]
            if arguments.json:
                print_json(answer)
                return
            for sink in told:
                print(_line(sink))
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that has sinks") from None
        if not told:
            print("events are handed on to nobody")

    return asking(arguments, ask)


def _line(sink: dict[str, object]) -> str:
    words = f"{plain(sink['name'])}: {plain(sink['kind'])} to {plain(sink['where'])}: {plain(sink['state'])}"
    if sink["until"]:
        words += f" until {plain(sink['until'])}"
    words += f", {plain(sink['behind'])} behind"
    for key, text in (("aside", "set aside"), ("missed", "missed")):
        if sink[key]:
            words += f", {plain(sink[key])} {text}"
    return words + (f": {plain(sink['trouble'])}" if sink["trouble"] else "")


COMMAND = Command("sinks", "show where events are handed on to, and how far each is", _arguments, run)
