"""etc/zonerelay.toml says what the schema says: each key once, commented, with its default."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import msgspec.structs
from msgspec import inspect
from twisted.trial.unittest import TestCase

from relay.config.load import parse
from relay.config.schema import Config, Sink
from relay.config.shape import build

SAMPLE = Path(__file__).parents[2] / "etc" / "zonerelay.toml"

#: A key that is commented out has no blank after the #; prose has one.
COMMENTED = re.compile(r"^#(?=\S)", re.MULTILINE)


def keys_of_schema(kind: inspect.Type, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every key there is, tables of any name under the name that the sample gives them."""
    if isinstance(kind, inspect.StructType):
        return {key for field in kind.fields for key in keys_of_schema(field.type, (*path, field.name))}
    if isinstance(kind, inspect.DictType) and isinstance(kind.value_type, inspect.StructType):
        return keys_of_schema(kind.value_type, (*path, "feeder" if path == ("listeners",) else "default"))
    if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType):
        return keys_of_schema(kind.item_type, path)
    if path == ("pools",) and isinstance(kind, inspect.DictType):
        return keys_of_schema(kind.value_type, (*path, "default"))
    return {path}


def keys_of_table(value: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        return {key for name, entry in value.items() for key in keys_of_table(entry, (*path, name))}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return keys_of_table(value[0], path)
    return {path}


class SampleConfig(TestCase):
    def setUp(self) -> None:
        self.text = SAMPLE.read_text()
        self.table = tomllib.loads(COMMENTED.sub("", self.text))

    def test_runs_as_it_is(self) -> None:
        config = parse(self.text, str(SAMPLE))
        self.assertEqual(parse("", "empty"), config)
        self.assertEqual("var/queue", config.queue.path)

    def test_every_key(self) -> None:
        self.assertEqual(keys_of_schema(inspect.type_info(Config)), keys_of_table(self.table))

    def test_every_default(self) -> None:
        config, problems = build(self.table)
        self.assertEqual([], problems)
        # There are no sinks by themselves.
        self.assertEqual(msgspec.structs.replace(Config(), sinks={"default": Sink()}), config)

    def test_every_key_is_explained(self) -> None:
        lines = self.text.splitlines()
        for above, line in pairwise(lines):
            if COMMENTED.match(line) and not line.startswith("#default ="):
                self.assertRegex(above, r"^# \S", line)
