"""`zonerelay key`: make, list and revoke API keys, asking the API."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from relay.access.caller import Scope
from relay.cli.api import Api, api_arguments, asking, plain
from relay.cli.command import Command, Start
from relay.cli.paging import pages


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a key, and print it this once", description="Make a key.")
    add.add_argument("name", help="what it is for; as SMTP user it is logged in by this name")
    add.add_argument("--scope", required=True, **_many("SCOPE"), choices=[str(scope) for scope in Scope], help=_SCOPES)
    add.add_argument("--tenant", default="", help="the organisation whose it is")
    add.add_argument("--domain", **_many("DOMAIN"), help="mail may come from this domain; default: any")
    add.add_argument("--network", **_many("NETWORK"), help="it may be used from there; default: anywhere")
    add.add_argument("--rate", **_many("RATE"), help='how often, such as "10/s"; default: no limit')
    end = add.add_mutually_exclusive_group()
    end.add_argument("--for", dest="duration", metavar="TIME", default="", help='such as "90d"; default: until revoked')
    end.add_argument("--until", dest="expires", metavar="TIME", default="", help='such as "2027-12-01T08:00:00Z"')
    api_arguments(add)
    api_arguments(actions.add_parser("list", help="list all keys", description="List all keys."))
    revoke = actions.add_parser("revoke", help="a key opens nothing any more", description="Revoke a key.")
    revoke.add_argument("id", metavar="ID", help="as add and list print it")
    api_arguments(revoke)


_SCOPES = "what it may do: submit, read, operate, admin, impersonate; any number of times"


def _many(what: str) -> dict[str, Any]:
    """An option that may be given several times."""
    return {"action": "append", "default": [], "metavar": what}


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error."""
    return asking(arguments, lambda api: _ACTIONS[arguments.action](api, arguments))


def _add(api: Api, arguments: argparse.Namespace) -> None:
    fields = {
        "name": arguments.name,
        "scopes": arguments.scope,
        "tenant": arguments.tenant,
        "domains": arguments.domain,
        "networks": arguments.network,
        "rates": arguments.rate,
        "duration": arguments.duration,
        "expires": arguments.expires,
    }
    made = api.ask("POST", "/v1/keys", {key: value for key, value in fields.items() if value})
    print(plain(made["key"]))


def _list(api: Api, arguments: argparse.Namespace) -> None:
    for key in pages(api, "/v1/keys"):
        print(_line(key))


def _revoke(api: Api, arguments: argparse.Namespace) -> None:
    key = api.ask("DELETE", f"/v1/keys/{quote(arguments.id, safe='')}")
    print(f"{plain(key['id'])}: {plain(key['name'])}: revoked")


_ACTIONS = {"add": _add, "list": _list, "revoke": _revoke}


def _line(key: dict[str, Any]) -> str:
    name = f"{key['tenant']}/{key['name']}" if key["tenant"] else key["name"]
    said = [",".join(key["scopes"])]
    for what, word in (("domains", "from"), ("networks", "at"), ("rates", "up to")):
        if key[what]:
            said.append(f"{word} {','.join(key[what])}")
    said.append(f"until {key['expires']}" if key["expires"] else "until it is revoked")
    said.append(f"used {key['used']}" if key["used"] else "not used yet")
    return plain(f"{key['id']}: {name}: {', '.join(said)}")


COMMAND = Command("key", "make, list and revoke API keys", _arguments, run)
