"""`zonerelay check-config`: is this file fit to start with, and if not, why? Starts nothing."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from relay.access.users import BadUsers, Known, read
from relay.bounce.rulefile import BadRules
from relay.bounce.rulefile import read as read_rules
from relay.cli.command import Command, Start, config_argument
from relay.config.load import ConfigError, load_with_warnings
from relay.config.schema import Config
from relay.config.secret import SecretUnusable, open_to_all, passwords, secrets
from relay.dkim.keyfile import KeyUnusable
from relay.dkim.keyfile import load as load_key
from relay.dkim.names import of_file
from relay.events.amqp import login
from relay.events.webhook import signing_keys

#: How long before its end a certificate is spoken of.
SOON = timedelta(days=7)


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints every error and returns 1, or prints warnings and `FILE: ok` and returns 0."""
    try:
        config, warnings = load_with_warnings(arguments.config)
        users = read(config.access.users) if config.access.users else {}
        if config.bounces.rules:
            read_rules(config.bounces.rules)
    except (ConfigError, BadUsers, BadRules) as error:
        print(error, file=sys.stderr)
        return 1
    errors, doubts = _certificates(config)
    try:
        passwords(config.zones)
        passwords(config.zones, "egress")
        secrets(("returns",), config.returns)
        signing_keys(("bounces",), config.bounces)
        for name, sink in config.sinks.items():
            signing_keys(("sinks", name), sink)
            login(name, sink)
    except SecretUnusable as error:
        errors.append(str(error))
    if errors:
        print("\n".join(f"{arguments.config}: {error}" for error in errors), file=sys.stderr)
        return 1
    warnings += [f"{arguments.config}: {doubt}" for doubt in doubts]
    warnings += _zones_of_users(config, users) + _keys(config) + _open_passwords(config)
    warnings += _unsigned_reports(config)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{arguments.config}: ok")
    return 0


def _zones_of_users(config: Config, users: dict[str, Known]) -> list[str]:
    """What is odd about the users' file, seen with the rest of the configuration."""
    path, zones = config.access.users, {name.lower() for name in config.zones} | {"default"}
    lines = [
        f'{path}: users."{known.user.name}".zone: no zone "{known.user.zone}": their mail goes as everybody\'s'
        for known in users.values()
        if known.user.zone and known.user.zone.lower() not in zones
    ]
    if path and os.stat(path).st_mode & stat.S_IROTH:
        lines.append(f"{path}: everybody on this machine can read it; expected mode 0600 or 0640")
    return lines


def _open_passwords(config: Config) -> list[str]:
    """Which passwords for next hops and proxies, and secrets, others can read."""
    zones = config.zones.values()
    files = [zone.auth_password_file for zone in zones if zone.auth_user]
    files += [zone.egress_password_file for zone in zones if zone.egress_user]
    files += [config.returns.secret_file, config.bounces.secret_file]
    files += [file for sink in config.sinks.values() for file in (sink.secret_file, sink.password_file)]
    return [
        f"{file}: everybody on this machine can read it; expected mode 0600 or 0640"
        for file in files
        if file and open_to_all(file)
    ]


def _keys(config: Config) -> list[str]:
    """Which signing keys can't be used, and who else can use them."""
    directory = config.dkim.keys
    lines: list[str] = []
    try:
        files = sorted(os.listdir(directory))
    except FileNotFoundError:
        return lines
    except OSError as error:
        return [f"dkim.keys: {directory}: {error.strerror}"]
    for file in files:
        path = os.path.join(directory, file)
        if file.endswith(".pem") and of_file(file) is None:
            lines.append(f"{path}: its name isn't DOMAIN.SELECTOR.pem, so that nobody signs with it")
        elif of_file(file) is not None:
            try:
                key = load_key(path)
            except KeyUnusable as error:
                lines.append(f"{path}: {error}")
            else:
                lines += [f"{path}: {key.open_to} can read it; expected mode 0600"] if key.open_to else []
    return lines


def _unsigned_reports(config: Config) -> list[str]:
    """Whether anybody will believe the reports (RFC 8460 3)."""
    domain = config.tls_reports.sender.rpartition("@")[2].lower()
    if not config.tls_reports.on:
        return []
    try:
        names = [of_file(file) for file in os.listdir(config.dkim.keys)]
    except OSError:
        names = []
    if any(name is not None and name.domain == domain for name in names):
        return []
    return [f"tls_reports.sender: {config.dkim.keys} has no key of {domain}: reports that aren't signed are ignored"]


def _certificates(config: Config) -> tuple[list[str], list[str]]:
    """What a start would say of the certificates of listeners and API, and what their clients soon will."""
    from relay.net.client_tls import check_authorities
    from relay.net.tls import TlsUnusable, api_tls, server_tls

    errors, doubts = [], []
    try:
        check_authorities(config.tls.authorities)
    except TlsUnusable as error:
        errors.append(str(error))
    shown = [
        (f"listeners.{name}", partial(server_tls, one), one.certificate) for name, one in config.listeners.items()
    ]
    for where, make, certificate in (*shown, ("api", partial(api_tls, config.api), config.api.certificate)):
        try:
            tls = make(time.monotonic)
        except TlsUnusable as error:
            errors.append(f"{where}.{error}")
            continue
        if tls is not None and tls.expires < datetime.now(UTC) + SOON:
            doubts.append(f"{where}.certificate: {certificate}: it expires on {tls.expires:%F %T} UTC")
    return errors, doubts


COMMAND = Command("check-config", "say what is wrong with a configuration file", config_argument, run)
