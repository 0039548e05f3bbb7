"""`zonerelay dkim`: makes signing keys with the records that publish them, and compares keys with the DNS."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from relay.cli.command import Command, Start, config_argument
from relay.config.load import ConfigError, load
from relay.config.plain import shown
from relay.config.schema import Config
from relay.dkim.keyfile import GOOD, Key, KeyUnusable
from relay.dkim.keyfile import load as load_key
from relay.dkim.making import keep, make
from relay.dkim.names import KeyName, key_name, of_file
from relay.dkim.record import faults, is_test
from relay.dkim.trial import refusal
from relay.message.address import parse
from relay.net.dns import DnsError, NoData, NoSuchDomain, Resolver

#: Longest string in a TXT record (bytes, RFC 1035 3.3.14).
_STRING = 255


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "make a key for a domain and print the record that publishes it"
    new = actions.add_parser("new", help=text, description=text)
    new.add_argument("domain", metavar="DOMAIN")
    new.add_argument("--selector", metavar="NAME", default="", help="default: r or e, and the month, as in r202601")
    new.add_argument("--algorithm", choices=("rsa", "ed25519"), default="rsa", help="default: %(default)s")
    new.add_argument("--bits", type=int, default=0, help=f"of an RSA key; default: {GOOD}")
    text = "compare keys with the DNS; without DOMAIN, all there are"
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("domains", metavar="DOMAIN", nargs="*")
    for one in (new, check):
        one.add_argument("--keys", metavar="DIRECTORY", default="", help="default: dkim.keys of the configuration")
        config_argument(one)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Returns 0, or 1 with the reason on standard error, or where a key is not as it should be."""
    try:
        return _new(arguments) if arguments.action == "new" else _check(arguments)
    except (ConfigError, ValueError, OSError) as error:
        print(error if isinstance(error, ConfigError) else f"zonerelay: {error}", file=sys.stderr)
        return 1


def _new(arguments: argparse.Namespace) -> int:
    if arguments.algorithm == "ed25519" and arguments.bits:
        raise ValueError("--bits: an Ed25519 key has but one size")
    selector = arguments.selector or f"{arguments.algorithm[0]}{datetime.date.today():%Y%m}"
    name = key_name(_domain(arguments.domain), selector)
    key = make(arguments.algorithm, arguments.bits or GOOD)
    path = keep(key, arguments.keys or load(arguments.config).dkim.keys, name)
    print(f"The key is in {path}; from now on the relay signs with it. Publish its other half:\n")
    print(f"name:  {name.record}\ntype:  TXT\nvalue: {key.record()}\n")
    print("In a zone file:\n")
    print("\n".join(_zone_file(name, key.record())))
    return 0


def _zone_file(name: KeyName, text: str) -> Iterator[str]:
    yield f"{name.record}. IN TXT ("
    for at in range(0, len(text), _STRING):
        yield f'    "{text[at : at + _STRING]}"'
    yield ")"


def _domain(text: str) -> str:
    """In A-labels. Raises ValueError."""
    try:
        return parse(f"postmaster@{text.removesuffix('.')}").domain
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _check(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    directory = arguments.keys or config.dkim.keys
    wanted = [_domain(text) for text in arguments.domains]
    files = sorted(os.listdir(directory))
    names = [name for file in files if (name := of_file(file)) is not None]
    bad = 0
    if not wanted:
        wanted = sorted({name.domain for name in names})
        for file in files:
            if file.endswith(".pem") and of_file(file) is None:
                print(f"{file}: its name isn't DOMAIN.SELECTOR.pem, so that nobody signs with it")
                bad += 1
        needed = dict.fromkeys(domain.lower() for domain in (*config.dkim.required_domains, config.dkim.arc) if domain)
        wanted += [domain for domain in needed if domain not in wanted]
    usable: list[tuple[KeyName, Key]] = []
    for domain in wanted:
        own = [name for name in names if name.domain == domain]
        if not own:
            print(f"{domain}: it has no key in {directory}")
            bad += 1
        for name in own:
            try:
                usable.append((name, load_key(os.path.join(directory, name.file))))
            except KeyUnusable as error:
                print(f"{name.file}: {error}")
                bad += 1
    for (name, key), found in zip(usable, _published(config, [name for name, _ in usable]), strict=True):
        bad += not _told(name, key, found)
    return int(bad > 0)


def _told(name: KeyName, key: Key, found: list[str] | DnsError) -> bool:
    """Says how a key is; whether it can be verified."""
    if isinstance(found, DnsError):
        print(f"{name.file}: the DNS can't tell: {found}")
        return False
    wrong = faults(key, found)
    for fault in wrong:
        print(f"{name.file}: {name.record}: {fault}")
    if wrong:
        print(f"    expected: {key.record()}")
        return False
    published = next(text for text in found if not faults(key, [text]))
    if reason := refusal(key, name, published):
        print(f"{name.file}: {name.record}: dkimpy does not verify a signature by it: {shown(reason)}")
        return False
    doubts = [f"{key.open_to} can read the file; expected mode 0600"] if key.open_to else []
    if (bits := getattr(key.private, "key_size", GOOD)) < GOOD:
        doubts.append(f"{bits} bits are few; expected {GOOD}")
    if is_test(found):
        doubts.append("the record says t=y, a trial: signatures count for nothing")
    print(f"{name.file}: ok" + "".join(f"; {doubt}" for doubt in doubts))
    return True


def _published(config: Config, names: list[KeyName]) -> list[list[str] | DnsError]:
    """The TXT records at the name of each key, or why nobody knows."""
    answers: list[list[str] | DnsError] = []

    async def look(reactor: Any) -> None:
        resolver = Resolver(reactor, config.dns)
        for name in names:
            try:
                answers.append(await resolver.txt(name.record))
            except (NoData, NoSuchDomain):
                answers.append([])
            except DnsError as error:
                answers.append(error)

    if names:
        try:
            react(lambda reactor: Deferred.fromCoroutine(look(reactor)))
        except SystemExit:
            pass
    return answers


COMMAND = Command("dkim", "make signing keys, and compare them with the DNS", _arguments, run)
