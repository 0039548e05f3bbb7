"""What each kind of sink needs, and what is of no use to it; and where bounces are reported to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from ipaddress import ip_address

from relay.config import urls
from relay.config.check_auth import is_variable
from relay.config.lines import Path
from relay.config.names import is_address, is_host
from relay.config.plain import meant, shown
from relay.config.schema import Bounces, Config, Sink
from relay.config.shape import Problem
from relay.message.event import KINDS
from relay.message.internet import is_public

_PASSWORD = ("password_file", "password_variable")
_SECRET = ("secret_file", "secret_variable")
#: What each kind goes by, beside what all have.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "webhook": ("url", "timeout", *_SECRET, "allow_private"),
    "file": ("path", "max_size", "keep"),
    "udp": ("host", "port"),
    "gelf": ("host", "port", "transport", "timeout"),
    "amqp": ("host", "port", "timeout", "tls", "user", *_PASSWORD, "vhost", "exchange", "routing_key"),
}
#: What a kind can't do without, and what that is.
_NEEDED: Mapping[str, Mapping[str, str]] = {
    "webhook": {"url": "a URL"},
    "file": {"path": "a file"},
    "udp": {"host": "a host"},
    "gelf": {"host": "a host"},
    "amqp": {"host": "a host", "exchange": "an exchange", "routing_key": "a routing key"},
}
_ALL = frozenset(key for keys in OPTIONS.values() for key in keys)
_DEFAULTS = Sink()
_LONGEST_NAME = 60
#: Of what AMQP has names for (bytes, AMQP 0-9-1 4.2.5.3), and what a routing key may hold of an event.
_LONGEST_WORD = 255
_FROM_EVENT = ("{kind}", "{zone}")


def problems(config: Config) -> Iterator[Problem]:
    """All that is wrong with [sinks] and with where [bounces] are reported to."""
    paths: dict[str, str] = {}
    for name, sink in config.sinks.items():
        yield from _sink(("sinks", name), sink)
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            yield Problem(("sinks", name), f"expected a name of {_LONGEST_NAME} characters at most")
        if name == "bounces" and config.bounces.url:
            yield Problem(("sinks", name), "expected another name: bounces.url is the sink of this one")
        if sink.path and sink.path in paths:
            text = f"expected a file of its own, got {shown(sink.path)}, which sinks.{paths[sink.path]} has"
            yield Problem(("sinks", name, "path"), text)
        paths.setdefault(sink.path, name)
        if not config.events.keep:
            yield Problem(("sinks", name), "expected events.keep above 0: there are no events to hand on")
    bounces = config.bounces
    yield from _url(("bounces",), bounces)
    if bounces.url and not config.events.keep:
        yield Problem(("bounces", "url"), "expected events.keep above 0: there are no events that tell of bounces")
    for key in (*_SECRET, "allow_private"):
        if getattr(bounces, key) and not bounces.url:
            yield Problem(("bounces", key), "expected a url beside it")


def warnings(config: Config) -> Iterator[Problem]:
    """What others on the way can read or change."""
    sections: list[tuple[Path, Sink | Bounces]] = [(("sinks", name), sink) for name, sink in config.sinks.items()]
    for path, section in (*sections, (("bounces",), config.bounces)):
        if section.url.startswith("http:") and not section.allow_private:
            yield Problem((*path, "url"), "http: whoever is on the way can read what is sent")
    for name, sink in config.sinks.items():
        if sink.kind == "amqp" and not sink.tls and not _is_here(sink.host):
            text = "without it whoever is on the way can read what is sent, and the password"
            yield Problem(("sinks", name, "tls"), text)


def _sink(path: Path, sink: Sink) -> Iterator[Problem]:
    for index, kind in enumerate(sink.events):
        if kind not in KINDS:
            hint = meant(kind, KINDS) or "; expected one of " + ", ".join(sorted(KINDS))
            yield Problem((*path, "events", f"[{index}]"), f"unknown kind {shown(kind)}{hint}")
    mine = OPTIONS[sink.kind]
    for key, what in _NEEDED[sink.kind].items():
        if not getattr(sink, key):
            yield Problem((*path, key), f'expected {what}, for kind is "{sink.kind}"')
    for key in sorted(_ALL.difference(mine)):
        if getattr(sink, key) != getattr(_DEFAULTS, key):
            kinds = " or ".join(f'"{kind}"' for kind, keys in OPTIONS.items() if key in keys)
            yield Problem((*path, key), f'of no use, for kind is "{sink.kind}"; expected it with {kinds}')
    if "url" in mine:
        yield from _url(path, sink)
    if sink.host and not is_address(sink.host) and not is_host(sink.host):
        yield Problem((*path, "host"), f"expected a host name or an address, got {shown(sink.host)}")
    if sink.kind == "amqp":
        yield from _amqp(path, sink)


def _amqp(path: Path, sink: Sink) -> Iterator[Problem]:
    if find_spec("pika") is None:
        yield Problem((*path, "kind"), 'expected pika for "amqp", which is not installed: pip install zonerelay[amqp]')
    for key in ("user", "vhost", "exchange", "routing_key"):
        if len(getattr(sink, key).encode()) > _LONGEST_WORD:
            yield Problem((*path, key), f"expected {_LONGEST_WORD} bytes at most")
    bare = sink.routing_key
    for word in _FROM_EVENT:
        bare = bare.replace(word, "")
    if "{" in bare or "}" in bare:
        expected = " and ".join(_FROM_EVENT)
        yield Problem((*path, "routing_key"), f"expected no braces but {expected}, got {shown(sink.routing_key)}")
    if sink.password_file and sink.password_variable:
        yield Problem((*path, "password_file"), "expected either password_file or password_variable")
    if sink.password_variable and not is_variable(sink.password_variable):
        # A password that was put here by mistake isn't shown.
        yield Problem((*path, "password_variable"), "expected the name of an environment variable")
    if bool(sink.user) != bool(sink.password_file or sink.password_variable):
        text = "expected both, user and password_file or password_variable, or neither"
        yield Problem((*path, "user"), text)


def _is_here(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def _url(path: Path, section: Sink | Bounces) -> Iterator[Problem]:
    if section.url:
        try:
            url = urls.read(section.url)
        except ValueError as error:
            # It may hold a password.
            yield Problem((*path, "url"), f'expected a URL such as "https://example.com/mail": {error}')
        else:
            if is_address(url.host) and not section.allow_private and not is_public(ip_address(url.host)):
                yield Problem((*path, "url"), f"{url.host} is no public address; expected allow_private = true with it")
    if section.secret_file and section.secret_variable:
        yield Problem((*path, "secret_file"), "expected either secret_file or secret_variable")
    if section.secret_variable and not is_variable(section.secret_variable):
        # A secret that was put here by mistake isn't shown.
        yield Problem((*path, "secret_variable"), "expected the name of an environment variable")
