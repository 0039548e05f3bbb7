"""`zonerelay check-bounce`, and `check-bounce` as ZoneMTA has it: what a reply means, read from standard input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from relay.bounce.diagnosis import Diagnosis
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import BadRules, read, shipped
from relay.bounce.said import READ, said
from relay.cli.command import Command, Start
from relay.config.load import DEFAULT_FILE, ConfigError, load


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help=f"the configuration that names the operator's rules; default: {DEFAULT_FILE}, if it is there",
    )
    parser.add_argument("--rules", metavar="FILE", help="a file of rules, instead of the one that it names")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints what the reply on standard input means and returns 0; or returns 1 with the reason on standard error."""
    return _answer(arguments)


def _answer(arguments: argparse.Namespace) -> int:
    try:
        path = arguments.rules or _configured(arguments.config)
        book = Rulebook([*(read(path) if path else ()), *shipped()])
    except (ConfigError, BadRules) as error:
        print(error, file=sys.stderr)
        return 1
    text = sys.stdin.buffer.read(8 * READ).decode("utf-8", "replace").strip()
    for line in _lines(text, book.diagnosis(said(text))):
        print(line)
    return 0


def _configured(config: str | None) -> str:
    """The operator's file, "" for none. Raises ConfigError."""
    if config is None and not Path(DEFAULT_FILE).exists():
        return ""
    return load(config or DEFAULT_FILE).bounces.rules


def _lines(text: str, diagnosis: Diagnosis) -> Iterator[str]:
    first, *others = text.splitlines() or [""]
    yield f"data     : {_plain(first)}"
    yield from (f"{'':11}{_plain(line)}" for line in others)
    for key, value in (
        ("action", diagnosis.action),
        ("message", diagnosis.message),
        ("category", diagnosis.category),
        ("code", diagnosis.code or "false"),
        ("status", diagnosis.status or "false"),
        ("line", diagnosis.line or "false"),
        ("fault", diagnosis.fault),
        ("file", diagnosis.file or "false"),
    ):
        yield f"{key:8} : {value}"


def _plain(line: str) -> str:
    """Without what a terminal might obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def console() -> int:
    """The console script `check-bounce`; returns its exit code."""
    parser = argparse.ArgumentParser(prog="check-bounce", description=COMMAND.help)
    COMMAND.arguments(parser)
    return _answer(parser.parse_args())


COMMAND = Command("check-bounce", "say what a refusal, read from standard input, means", _arguments, run)
