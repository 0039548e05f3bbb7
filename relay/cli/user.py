"""`zonerelay user`: add, change, list and remove the users in the users' file.

The file is written anew and put in the place of the old one, readable by its owner, and by its
group if that was so before; comments and the order of what is in it stay. A running relay sees it within a second.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import tempfile
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError

from relay.access.passwords import HASHER
from relay.access.scram import ITERATIONS, derive
from relay.access.users import BadUsers, read
from relay.cli.command import Command, Start, config_argument
from relay.config.load import ConfigError, load
from relay.message.labels import checked_tenant

_SHORTEST = 8


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (
        ("add", "add a user"),
        ("passwd", "give a user another password"),
        ("list", "list all users"),
        ("remove", "remove a user"),
    ):
        one = actions.add_parser(action, help=text, description=text)
        if action != "list":
            one.add_argument("name")
        one.add_argument("--users", metavar="FILE", default="", help="default: access.users of the configuration")
        config_argument(one)
        if action in ("add", "passwd"):
            one.add_argument("--scram", action="store_true", help="keep SCRAM keys instead of an argon2 hash")
            one.add_argument("--password-stdin", action="store_true", help="read the password from a line of input")
        if action == "add":
            one.add_argument("--sender", action="append", default=[], metavar="ADDRESS", help="may be in MAIL FROM")
            one.add_argument("--from-domain", action="append", default=[], metavar="DOMAIN", help="may be in From")
            one.add_argument("--zone", default="", help="send all mail of the user through this zone")
            one.add_argument("--tenant", default="", help="whose the mail of the user is")


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""
    try:
        path = arguments.users or load(arguments.config).access.users
        if not path:
            raise ValueError("no users' file: give --users, or set access.users in the configuration")
        return _ACTIONS[arguments.action](path, arguments)
    except (ConfigError, BadUsers, ValueError, OSError, ParseError) as error:
        print(f"zonerelay: {error}", file=sys.stderr)
        return 1


def _add(path: str, arguments: argparse.Namespace) -> int:
    document = _document(path)
    users = _users(document)
    if _key(users, arguments.name) is not None:
        raise ValueError(f"{arguments.name} is there already")
    entry = tomlkit.table()
    for key, value in _proof(arguments).items():
        entry.add(key, value)
    for key, value in (
        ("senders", arguments.sender),
        ("from_domains", arguments.from_domain),
        ("zone", arguments.zone),
        ("tenant", checked_tenant(arguments.tenant)),
    ):
        if value:
            entry.add(key, value)
    users.add(arguments.name, entry)
    _write(path, document)
    return 0


def _passwd(path: str, arguments: argparse.Namespace) -> int:
    document = _document(path)
    users = _users(document)
    key = _key(users, arguments.name)
    if key is None:
        raise ValueError(f"there is no user {arguments.name}")
    entry = users[key]
    for old in ("password", "scram"):
        entry.pop(old, None)
    for name, value in _proof(arguments).items():
        entry.add(name, value)
    _write(path, document)
    return 0


def _list(path: str, arguments: argparse.Namespace) -> int:
    for known in sorted(read(path).values(), key=lambda known: known.user.name):
        ways = [way for way, there in (("password", known.hash), ("scram", known.keys)) if there]
        print(known.user.name, "disabled" if known.disabled else ",".join(ways) or "certificate")
    return 0


def _remove(path: str, arguments: argparse.Namespace) -> int:
    document = _document(path)
    users = _users(document)
    key = _key(users, arguments.name)
    if key is None:
        raise ValueError(f"there is no user {arguments.name}")
    users.remove(key)
    _write(path, document)
    return 0


_ACTIONS = {"add": _add, "passwd": _passwd, "list": _list, "remove": _remove}


def _proof(arguments: argparse.Namespace) -> dict[str, str]:
    """What is kept of the password."""
    given = password(arguments)
    if arguments.scram:
        return {"scram": str(derive(given, os.urandom(16), ITERATIONS))}
    return {"password": HASHER.hash(given)}


def password(arguments: argparse.Namespace) -> str:
    """The password that is typed, twice, or the first line of the input. Raises ValueError."""
    if arguments.password_stdin or not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\r\n")
    else:
        given = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != given:
            raise ValueError("the two are not the same")
    if len(given) < _SHORTEST:
        raise ValueError(f"the password is shorter than {_SHORTEST} characters")
    return given


def _document(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return tomlkit.parse(file.read())
    except FileNotFoundError:
        return tomlkit.document()


def _users(document: Any) -> Any:
    if "users" not in document:
        document.add("users", tomlkit.table(is_super_table=True))
    return document["users"]


def _key(users: Any, name: str) -> str | None:
    return next((key for key in users if key.lower() == name.lower()), None)


def _write(path: str, document: Any) -> None:
    """Put the new file in the place of the old one, if it can be read as one."""
    path = os.path.realpath(path)  # Of a link it is what it leads to that is replaced.
    number, new = tempfile.mkstemp(prefix=".users-", dir=os.path.dirname(path))
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
            file.flush()
            os.fsync(number)
        try:
            read(new)
        except BadUsers as error:
            raise BadUsers(str(error).replace(new, path)) from None
        if os.path.exists(path):
            kept = os.stat(path)
            os.chmod(new, 0o600 | (kept.st_mode & 0o040))
            if os.geteuid() == 0:
                os.chown(new, kept.st_uid, kept.st_gid)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


COMMAND = Command("user", "add, change, list and remove users", _arguments, run)
