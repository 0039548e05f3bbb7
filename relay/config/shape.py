"""From the tables of a TOML file to the typed tree, noting everything that does not fit.

msgspec's own conversion stops at its first error and knows no units, so the walk down the
schema is done here; the schema stays the only place that says what a key may be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from msgspec import inspect

from relay.config.lines import Path
from relay.config.plain import Unfit, expected, meant, plain
from relay.config.schema import Config


class Problem(NamedTuple):
    """One thing that is wrong: where, and what was expected and found there."""

    path: Path
    text: str


def build(table: dict[str, object]) -> tuple[Config, list[Problem]]:
    """The configuration that `table` says, and all that is wrong with it.

    What does not fit is left at its default, so that the tree is whole and can be checked
    further; it may be used only when there are no problems. A table without a key says
    nothing: `[pools]` alone leaves the default pools.
    """
    walk = _Walk()
    root = cast(inspect.StructType, inspect.type_info(Config))
    return cast(Config, walk.struct(root, table, ())), walk.problems


class _Walk:
    """One pass over a file, and the problems met on it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def struct(self, kind: inspect.StructType, value: object, path: Path) -> object:
        """The section in `value`; Unfit when it lacks what has no default."""
        if not isinstance(value, dict):
            raise expected("a table", value)
        fields = {field.name: field for field in kind.fields}
        for name in value.keys() - fields.keys():
            hint = meant(name, fields) or "; expected one of " + ", ".join(fields)
            self.problems.append(Problem((*path, name), "unknown key" + hint))
        for field in kind.fields:
            if field.required and field.name not in value:
                self.problems.append(Problem((*path, field.name), "missing"))
        entries = [
            (name, self._read(fields[name].type, entry, (*path, name)))
            for name, entry in value.items()
            if name in fields and entry != {}
        ]
        given = {name: read[0] for name, read in entries if read}
        if any(field.required and field.name not in given for field in kind.fields):
            raise Unfit
        return kind.cls(**given)

    def _read(self, kind: inspect.Type, value: object, path: Path) -> tuple[object, ...]:
        """The one value read, or nothing once it is noted why not."""
        try:
            return (self._value(kind, value, path),)
        except Unfit as unfit:
            if text := str(unfit):
                self.problems.append(Problem(path, text))
            return ()

    def _value(self, kind: inspect.Type, value: object, path: Path) -> object:
        unit = ""
        if isinstance(kind, inspect.Metadata):
            unit = (kind.extra or {}).get("unit", "")
            kind = kind.type
        if isinstance(kind, inspect.StructType):
            return self.struct(kind, value, path)
        if isinstance(kind, inspect.DictType):
            if not isinstance(value, dict):
                raise expected("a table", value)
            return {
                name: read
                for name, entry in value.items()
                for read in self._read(kind.value_type, entry, (*path, name))
            }
        if isinstance(kind, inspect.VarTupleType):
            if not isinstance(value, list):
                raise expected("a list", value)
            return tuple(self._all(kind.item_type, value, path))
        return plain(kind, unit, value)

    def _all(self, kind: inspect.Type, values: list[object], path: Path) -> Iterable[object]:
        for index, entry in enumerate(values):
            yield from self._read(kind, entry, (*path, f"[{index}]"))
