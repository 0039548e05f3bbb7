"""`zonerelay route`: which zone, local address and limits a mail would have, and why.

It works from the configuration alone: the relay need not run, and nobody is asked but, with --dns, the
name servers.
"""

from __future__ import annotations

import argparse
import re
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from relay.access.users import BadUsers, read
from relay.cli.command import Command, Start, config_argument
from relay.cli.leaving import Explained, From, Leaving, Mail
from relay.config.load import ConfigError, load
from relay.config.plain import meant, shown
from relay.config.schema import Config
from relay.delivery.sts.shelf import Shelf
from relay.listener.destination import is_local
from relay.message import tls_asked
from relay.message.address import parse
from relay.message.headers import HeaderBlock
from relay.message.queueid import parse_name
from relay.net.dns import DnsError, NoData, Resolver
from relay.zone.routing import ASKED, OWN
from relay.zone.sites import Sites, is_literal
from relay.zone.zones import from_config

_field = re.compile(r"([!-9;-~]+)[ \t]*:[ \t]*(.*)").fullmatch


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--from", dest="sender", required=True, metavar="ADDRESS", help='the envelope sender; "" is the null sender')
    add("--to", dest="recipients", required=True, action="append", metavar="ADDRESS", help="any number of times")
    add("--header", dest="headers", action="append", default=[], metavar='"NAME: VALUE"', help="any number of times")
    add("--client", default="", metavar="ADDRESS", help="where the mail comes from")
    add("--user", default="", metavar="NAME", help="who has logged in")
    add("--listener", default="", metavar="NAME", help=f"where it comes in; default: the API, which believes {ASKED}")
    add("--id", default="", metavar="ID[.SEQ]", help="its queue id; without SEQ the recipients count from 001")
    add("--require-tls", action="store_true", help="it is submitted with REQUIRETLS")
    add("--site", default="", metavar="NAME", help="the site of the recipients, for its limits")
    add("--dns", action="store_true", help="look up the mail exchangers, to know the site")
    add("--json", action="store_true", help="print JSON")
    config_argument(parser)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints how each recipient's mail would leave and returns 0, or 1 with the reason on standard error."""
    try:
        config = load(arguments.config)
        mail = _mail(arguments, config)
        recipients = [_recipient(text) for text in arguments.recipients]
        names = _names(arguments.id, len(recipients))
        sites = {} if arguments.site or not arguments.dns else _found(config, recipients)
        policies = Shelf(Path(config.queue.path) / "sts", "")
        explained = Explained(
            config, from_config(config), lambda domain: arguments.site or sites.get(domain, ""), policies.load
        )
        ways = [explained.leaving(mail, to, name) for to, name in zip(recipients, names, strict=True)]
    except (ConfigError, BadUsers, ValueError) as error:
        print(error if isinstance(error, ConfigError) else f"zonerelay: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(ways), indent=2).decode())
    else:
        print("\n\n".join("\n".join(_told(way, mail)) for way in ways))
    return 0


def _mail(arguments: argparse.Namespace, config: Config) -> Mail:
    """Raises ValueError."""
    sender = arguments.sender.removeprefix("<").removesuffix(">")
    try:
        sender = sender and parse(sender, utf8=True).text
    except ValueError as error:
        raise ValueError(f"--from {shown(arguments.sender)}: {error}") from None
    if arguments.client:
        try:
            ip_address(arguments.client)
        except ValueError:
            raise ValueError(f"--client: expected an IP address, got {shown(arguments.client)}") from None
    believed, listeners = True, config.listeners
    if arguments.listener:
        if arguments.listener not in listeners:
            text = f"--listener: expected one of {', '.join(listeners)}, got {shown(arguments.listener)}"
            raise ValueError(text + meant(arguments.listener, listeners))
        believed = listeners[arguments.listener].allow_routing_headers
    own = ""
    if arguments.user and config.access.users:
        known = read(config.access.users).get(arguments.user.lower())
        own = known.user.zone if known is not None else ""
    block = _block(arguments.headers)
    return Mail(sender, block, arguments.client, arguments.user, own, believed, arguments.require_tls)


def _found(config: Config, recipients: list[str]) -> dict[str, str]:
    """The sites of their domains, as the DNS has them now. Raises ValueError when it doesn't tell."""
    sites, found, failed = Sites(config.sites), dict[str, str](), list[str]()

    async def look(reactor: Any) -> None:
        resolver = Resolver(reactor, config.dns)
        for domain in dict.fromkeys(address.rpartition("@")[2] for address in recipients):
            try:
                found[domain] = domain if is_literal(domain) else sites.site_of(await resolver.mx(domain), domain)
            except NoData:
                found[domain] = sites.site_of([], domain)
            except DnsError as error:
                failed.append(f"--dns: {domain}: {error}")

    try:
        react(lambda reactor: Deferred.fromCoroutine(look(reactor)))
    except SystemExit:
        pass
    if failed:
        raise ValueError(failed[0])
    return found


def _block(headers: list[str]) -> HeaderBlock:
    """The header that has these lines. Raises ValueError."""
    lines = []
    for text in headers:
        match = _field(text)
        if match is None or not match[2].isprintable():
            raise ValueError(f'--header: expected "Name: value", got {shown(text)}')
        lines.append(f"{match[1]}: {match[2]}\r\n")
    return HeaderBlock("".join(lines).encode())


def _recipient(text: str) -> str:
    """Raises ValueError."""
    try:
        address = parse(text.removeprefix("<").removesuffix(">"), utf8=True)
    except ValueError as error:
        raise ValueError(f"--to {shown(text)}: {error}") from None
    if is_local(address.domain):
        raise ValueError(f"--to {shown(text)}: mail to this machine itself is not taken")
    return address.text


def _names(text: str, count: int) -> list[str]:
    """`id.seq` of each recipient, "" when there is no id. Raises ValueError."""
    if not text:
        return [""] * count
    found = parse_name(text)
    if found is None:
        raise ValueError(f"--id: expected a queue id (18 hex digits) or ID.SEQ, got {shown(text)}")
    queue_id, seq = found
    if seq is not None and count > 1:
        raise ValueError("--id: with a SEQ it is of one delivery: expected one --to")
    return [f"{queue_id}.{number:03x}" for number in range(seq or 1, (seq or 1) + count)]


def _told(way: Leaving, mail: Mail) -> list[str]:
    """What an operator reads."""
    lines = [way.recipient, _line("zone", f"{way.zone}: {way.why}")]
    asked = mail.block.get(ASKED)
    if way.rule not in (OWN, ASKED):
        if mail.own:
            lines.append(_line("", f"passed over: the user's zone {mail.own}, for no zone of that name sends"))
        if asked is not None:
            why = "for no zone of that name sends" if mail.believed else "which this listener doesn't believe"
            lines.append(_line("", f"passed over: {ASKED}: {asked}, {why}"))
    lines += [_line("to", way.to), _line("pool", way.pool)]
    if way.sender:
        lines.append(_line("sender", way.sender))
    lines += [_line("IPv4", _address(way.ipv4)), _line("IPv6", _address(way.ipv6))]
    if way.through:
        lines.append(_line("through", way.through))
    if way.disabled_addresses:
        lines.append(_line("not from", f"{', '.join(way.disabled_addresses)}: disabled_addresses of the domain"))
    lines.append(_line("order", way.ipv6_preference))
    width = max(len(bound.key) for bound in way.limits)
    for index, bound in enumerate(way.limits):
        lines.append(_line("" if index else "limits", f"{bound.key:<{width}}  {bound.limit}"))
    if not (way.site or way.next_hop):
        lines.append(_line("", "those of its site: not known without --dns or --site"))
    lines.append(_line("TLS", way.tls))
    word = mail.block.get(tls_asked.ASKED)
    if word is not None and not mail.believed:
        lines.append(_line("", f"passed over: {tls_asked.ASKED}: {word}, which this listener doesn't believe"))
    lines.append(_line("MTA-STS", way.sts))
    return lines


def _line(what: str, text: str) -> str:
    return f"  {what:<8}  {text}"


def _address(local: From) -> str:
    return f"{local.address}, EHLO {local.name}: {local.why}" if local.address else local.why


COMMAND = Command("route", "say which zone, address and limits a mail would have, and why", _arguments, run)
