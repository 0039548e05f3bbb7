"""Reads the configuration file: all of it, or an error that names everything wrong with it."""

from __future__ import annotations

import os
import socket
import stat
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from json import dumps
from pathlib import Path as FilePath

import msgspec.structs

from relay.config import check, interfaces
from relay.config.lines import Path, key_lines, line_of
from relay.config.names import is_address
from relay.config.plain import meant, shown
from relay.config.schema import Config, Zone
from relay.config.shape import Problem, build

#: Looked for in the working directory when no file is named.
DEFAULT_FILE = "etc/zonerelay.toml"

#: A configuration is written by hand; anything larger is another file.
LARGEST = 1 << 20


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds one line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load(path: str | os.PathLike[str]) -> Config:
    """The configuration in the file at `path`.

    Relative paths in it (queue.path, dkim.keys, logs.mail) are left as they are and mean the
    working directory of the process. An empty `hostname` becomes the machine's own name, and the
    addresses of a zone's `interface` join its `addresses`.
    Raises ConfigError with every problem, each a line `file:line: key: what was expected`.
    """
    name = os.fspath(path)
    return parse(_text(name), name)


def parse(text: str, name: str) -> Config:
    """The configuration in `text`, which messages call `name`; as `load`."""
    return _read(text, name)[0]


def load_with_warnings(path: str | os.PathLike[str]) -> tuple[Config, list[str]]:
    """As `load`, with a line for each thing that is allowed but seldom meant."""
    name = os.fspath(path)
    text = _text(name)
    config, lines = _read(text, name)
    return config, [_line(name, lines, problem) for problem in check.warnings(config)]


def _text(name: str) -> str:
    """The text of the file; ConfigError says why there is none."""
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise ConfigError([f"{name}: expected a file, got a directory"])
        if not stat.S_ISREG(mode):
            raise ConfigError([f"{name}: expected a plain file"])
        with FilePath(name).open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from error
    if len(data) > LARGEST:
        raise ConfigError([f"{name}: expected at most {LARGEST} bytes"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{name}:{line}: expected UTF-8, got byte 0x{data[error.start]:02x}"]) from error


def _read(text: str, name: str) -> tuple[Config, Mapping[Path, int]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(str(error), name)]) from error
    except ValueError as error:
        # Of a number with thousands of digits tomllib says nothing, but int does.
        raise ConfigError([f"{name}: expected TOML, got a number with too many digits"]) from error
    except RecursionError as error:
        raise ConfigError([f"{name}: expected TOML, got lists or tables nested too deep"]) from error
    config, problems = build(table)
    if not config.hostname:
        config = msgspec.structs.replace(config, hostname=socket.getfqdn())
    config = _with_interfaces(config, problems)
    # What did not fit was replaced by a default, which must not be judged in its place.
    problems += [
        problem
        for problem in check.problems(config)
        if not any(_touch(problem.path, known.path) for known in problems)
    ]
    lines = key_lines(text)
    if problems:
        found = sorted((line_of(lines, problem.path) or 0, problem) for problem in problems)
        raise ConfigError(_line(name, lines, problem) for _, problem in found)
    return config, lines


def _with_interfaces(config: Config, problems: list[Problem]) -> Config:
    """Each zone with the addresses of its interface, as far as its pool hasn't got them; what is wrong
    joins `problems`."""
    zones: dict[str, Zone] = {}
    for name, zone in config.zones.items():
        zones[name] = zone
        if not zone.interface:
            continue
        path = ("zones", name, "interface")
        try:
            found = interfaces.addresses(zone.interface)
        except interfaces.NoInterface as error:
            text = f"expected an interface of this machine ({error}), got {shown(zone.interface)}"
            problems.append(Problem(path, text + meant(zone.interface, interfaces.names())))
            continue
        except OSError as error:
            problems.append(Problem(path, f"the addresses of {shown(zone.interface)} can't be read: {error}"))
            continue
        if not found:
            problems.append(Problem(path, f"expected an interface with an address, {shown(zone.interface)} has none"))
        named = [*zone.addresses, *(one.address for one in config.pools.get(zone.pool, ()))]
        known = {str(ip_address(address)) for address in named if is_address(address)}
        more = tuple(address for address in found if address not in known)
        zones[name] = msgspec.structs.replace(zone, addresses=zone.addresses + more)
    return msgspec.structs.replace(config, zones=zones)


def _touch(one: Path, other: Path) -> bool:
    """Whether one path lies within the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _line(name: str, lines: Mapping[Path, int], problem: Problem) -> str:
    """`file:line: key: text`."""
    line = line_of(lines, problem.path)
    place = f"{name}:{line}" if line else name
    return f"{place}: {dotted(problem.path)}: {problem.text}"


def dotted(path: Path) -> str:
    """A path as TOML writes it, with the places in lists: `pools.default[0].address`."""
    key = ""
    for word in path:
        if word.startswith("["):
            key += word
            continue
        bare = word.isascii() and word.replace("-", "").replace("_", "").isalnum()
        key += ("." if key else "") + (word if bare else dumps(word)[:60])
    return key


def _syntax(message: str, name: str) -> str:
    """tomllib's message, with the place it ends in moved to the front."""
    text, _, place = message.rpartition(" (at ")
    numbers = [word for word in place.rstrip(")").replace(",", "").split() if word.isdigit()]
    if len(numbers) == 2:
        return f"{name}:{numbers[0]}:{numbers[1]}: not TOML: {text}"
    return f"{name}: not TOML: {message}"
