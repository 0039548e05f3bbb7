"""`zonerelay tenant` and `member`: organisations, and who logs in for them, asking the API."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from relay.access.tenant import OWN, Role
from relay.cli.api import Api, ApiError, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.paging import pages
from relay.cli.user import password


def _tenant_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (
        ("add", "make an organisation"),
        ("list", "list all organisations"),
        ("remove", "end an organisation, with its keys and members"),
    ):
        one = actions.add_parser(action, help=text, description=text)
        if action != "list":
            one.add_argument("id")
        if action == "add":
            one.add_argument("--name", default="", help="for people")
            one.add_argument(
                "--domain", action="append", default=[], metavar="DOMAIN", help="its mail may come from; default: any"
            )
        api_arguments(one)


def _member_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (
        ("add", "make a member"),
        ("passwd", "give a member another password"),
        ("list", "list the members of an organisation"),
        ("remove", "end a membership"),
    ):
        one = actions.add_parser(action, help=text, description=text)
        if action != "list":
            one.add_argument("user", help="the name to log in with")
        one.add_argument("--tenant", default=OWN, help="default: the relay's own organisation, %(default)s")
        if action == "add":
            one.add_argument("--role", required=True, choices=[str(role) for role in Role])
        if action in ("add", "passwd"):
            one.add_argument("--password-stdin", action="store_true", help="read the password from a line of input")
        api_arguments(one)


def tenant(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        path = "/v1/tenants"
        if arguments.action == "add":
            fields = {"id": arguments.id, "name": arguments.name, "domains": arguments.domain}
            print(_organisation(api.ask("POST", path, fields)))
        elif arguments.action == "remove":
            gone = api.ask("DELETE", f"{path}/{quote(arguments.id, safe='')}")
            print(f"{_organisation(gone)}: removed")
        else:
            for one in pages(api, path):
                print(_organisation(one))

    return asking(arguments, ask)


def member(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""

    def ask(api: Api) -> None:
        path = f"/v1/tenants/{quote(arguments.tenant, safe='')}/members"
        own = "" if arguments.action == "list" else f"{path}/{quote(arguments.user, safe='')}"
        if arguments.action == "add":
            fields = {"user": arguments.user, "role": arguments.role, "password": _password(arguments)}
            print(_member(api.ask("POST", path, fields)))
        elif arguments.action == "passwd":
            print(_member(api.ask("PATCH", own, {"password": _password(arguments)})))
        elif arguments.action == "remove":
            print(f"{_member(api.ask('DELETE', own))}: removed")
        else:
            for one in pages(api, path):
                print(_member(one))

    return asking(arguments, ask)


def _password(arguments: argparse.Namespace) -> str:
    try:
        return password(arguments)
    except ValueError as error:
        raise ApiError(str(error)) from None


def _organisation(one: dict[str, Any]) -> str:
    return plain(f"{one['id']}: {one['name']}: mail from {','.join(one['domains']) or 'any domain'}")


def _member(one: dict[str, Any]) -> str:
    return plain(f"{one['user']}: {one['role']} of {one['tenant']}")


TENANT = Command("tenant", "make, list and end organisations", _tenant_arguments, tenant)
MEMBER = Command("member", "make, change, list and end members of organisations", _member_arguments, member)
