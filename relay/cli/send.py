"""`zonerelay send`: hands over a message that is described by options, or one that is there already."""

from __future__ import annotations

import argparse
import base64
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.screen import print_json

#: What an attempt ends with, or is put off by, that no sender likes to hear.
_BAD = frozenset({"bounced", "expired", "dropped", "suppressed", "deferred"})


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="with a name, as in a header, if you like")
    for name in ("to", "cc", "bcc"):
        parser.add_argument(f"--{name}", metavar="ADDRESS", action="append", default=[], help="may be given repeatedly")
    parser.add_argument("--reply-to", metavar="ADDRESS")
    parser.add_argument("--subject", metavar="TEXT")
    parser.add_argument("--text", metavar="TEXT", help="default, without --html and --raw: from standard input")
    parser.add_argument("--html", metavar="FILE", help="the same as HTML")
    parser.add_argument("--attach", metavar="FILE", action="append", default=[], help="may be given repeatedly")
    parser.add_argument("--header", metavar="NAME: VALUE", action="append", default=[], help="may be given repeatedly")
    parser.add_argument("--zone", metavar="ZONE", help="the sending zone; default: as the rules have it")
    parser.add_argument("--tag", metavar="TAG", action="append", default=[], help="may be given repeatedly")
    parser.add_argument("--at", metavar="TIME", help='not before that: "2026-12-01T08:00", of this machine\'s zone')
    text = "standard input is a whole message, --from and --to are its envelope"
    parser.add_argument("--raw", action="store_true", help=text)
    text = "for what becomes of it, 60 at most; exit code 1: a failure"
    parser.add_argument("--wait", metavar="SECONDS", type=int, default=0, help=text)
    parser.add_argument("--json", action="store_true", help="print what the API says")
    api_arguments(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the id of each recipient's delivery. Returns 0, or 1: it isn't taken, or --wait saw a failure."""
    code = 0

    def ask(api: Api) -> None:
        nonlocal code
        told = _raw(api, arguments) if arguments.raw else _made(api, arguments)
        try:
            if arguments.json:
                print_json(told)
            elif arguments.raw:
                print(f"{plain(told['id'])}: taken for {', '.join(map(plain, told['to']))}")
            else:
                for each in told["deliveries"]:
                    print(_line(each))
            if any(each.get("state") in _BAD for each in told.get("deliveries", ())):
                code = 1
        except (AttributeError, KeyError, TypeError):
            raise ApiError("what answers is no relay that takes mail") from None

    return asking(arguments, ask) or code


def _raw(api: Api, arguments: argparse.Namespace) -> Any:
    """Raises ApiError: there are options for what the message says itself."""
    for name in ("cc", "bcc", "reply_to", "subject", "text", "html", "attach", "header", "zone", "tag", "at", "wait"):
        if getattr(arguments, name):
            raise ApiError(f"--{name.replace('_', '-')}: not with --raw")
    query = {"from": arguments.sender, "to": ",".join(arguments.to) or None}
    said = urlencode({name: value for name, value in query.items() if value is not None})
    return api.give("POST", "/send-raw" + (f"?{said}" if said else ""), sys.stdin.buffer, "message/rfc822")


def _made(api: Api, arguments: argparse.Namespace) -> Any:
    """Raises ApiError."""
    fields: dict[str, Any] = {
        "from": arguments.sender,
        "to": arguments.to,
        "cc": arguments.cc,
        "bcc": arguments.bcc,
        "reply_to": arguments.reply_to,
        "subject": arguments.subject,
        "text": arguments.text,
        "attachments": [_attachment(path) for path in arguments.attach],
        "headers": _headers(arguments.header),
        "zone": arguments.zone,
        "tags": arguments.tag,
        "send_at": _moment(arguments.at),
    }
    if arguments.html:
        fields["html"] = _decoded(arguments.html, _read(arguments.html))
    if arguments.text is None and not arguments.html:
        fields["text"] = _decoded("standard input", sys.stdin.buffer.read())
    query = f"?wait={arguments.wait}" if arguments.wait else ""
    given = {name: value for name, value in fields.items() if value not in (None, [], {})}
    return api.ask("POST", f"/v1/messages{query}", given)


def _attachment(path: str) -> dict[str, str]:
    return {"filename": Path(path).name, "content": base64.b64encode(_read(path)).decode("ascii")}


def _headers(lines: list[str]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ApiError(f'--header: expected "Name: value", got {plain(line)}')
        headers.setdefault(name.strip(), []).append(value.strip())
    return headers


def _moment(text: str | None) -> str | None:
    """With its offset; without one the clock on the wall is meant."""
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise ApiError(f'--at: expected a time such as "2026-12-01T08:00", got {plain(text)}') from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ApiError(f"{path}: {error.strerror}") from None


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ApiError(f"{path}: expected UTF-8") from None


def _line(part: dict[str, Any]) -> str:
    words = f"{plain(part['id'])}: {plain(part['recipient'])}"
    if part.get("state"):
        words += f": {plain(part['state'])}"
    return words + (f" - {plain(part['reply'])}" if part.get("reply") else "")


COMMAND = Command("send", "send a message", _arguments, run)
