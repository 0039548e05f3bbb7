"""What one plain value of the file may be: a string, number, boolean or choice.

Each refusal says what was expected and what was found, in the words of the file.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence

from msgspec import inspect

from relay.config import units


class Unfit(Exception):
    """A value that cannot stand; its text says why, or is empty when that is noted already."""


def expected(what: str, value: object) -> Unfit:
    """The refusal of `value` where `what` was expected."""
    return Unfit(f"expected {what}, got {shown(value)}")


def shown(value: object) -> str:
    """A value as messages quote it: one short line without control characters."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=not value.isprintable())
    elif isinstance(value, int) and value.bit_length() > 256:
        text = hex(value)  # Python refuses to write thousands of decimal digits.
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when one of `known` is near `word`, else ""."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def plain(kind: inspect.Type, unit: str, value: object) -> object:
    """`value` as the schema's `kind` takes it; `unit` is "size", "duration" or "". Raises Unfit."""
    if isinstance(kind, inspect.LiteralType):
        return _choice(kind.values, value)
    if isinstance(kind, inspect.BoolType):
        if not isinstance(value, bool):
            raise expected("true or false", value)
        return value
    if isinstance(kind, inspect.StrType):
        # Strings end up in replies, headers and logs: a line end in one would forge a line there.
        if not isinstance(value, str) or any(ord(char) < 32 or char == "\x7f" for char in value):
            raise expected("a string without control characters", value)
        if unit:
            try:
                (units.rate if unit == "rate" else units.byte_rate)(value)
            except units.UnitError as error:
                raise expected(str(error), value) from None
        return value
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        return _number(kind, unit, value)
    raise TypeError(f"the schema uses {kind}, which the configuration cannot read yet")


def _choice(values: Sequence[object], value: object) -> object:
    # By type as well, for False == 0 in Python but not in the file.
    if any(value == each and type(value) is type(each) for each in values):
        return value
    refusal = expected(("one of " if len(values) > 1 else "") + ", ".join(map(shown, values)), value)
    if isinstance(value, str):
        raise Unfit(str(refusal) + meant(value, [each for each in values if isinstance(each, str)]))
    raise refusal


def _number(kind: inspect.IntType | inspect.FloatType, unit: str, value: object) -> int | float:
    what = _range(kind, unit)
    number = value
    if unit and isinstance(value, str):
        try:
            number = units.size(value) if unit == "size" else units.duration(value)
        except units.UnitError as error:
            raise expected(str(error), value) from None
    whole = isinstance(kind, inspect.IntType)
    if isinstance(number, bool) or not isinstance(number, int if whole else (int, float)):
        raise expected(what, value)
    most = kind.le if kind.le is not None else _LARGEST[unit]
    low = (kind.ge is not None and number < kind.ge) or (kind.gt is not None and number <= kind.gt)
    # No isfinite: it fails for whole numbers that no float can hold.
    if low or not -most <= number <= most:
        raise expected(what, value)
    return number if whole else float(number)


# Where the schema sets no limit: a count beyond this is a slip of the key.
_LARGEST = {"size": units.MAX_SIZE, "duration": units.MAX_SECONDS, "": 1_000_000_000}


def _range(kind: inspect.IntType | inspect.FloatType, unit: str) -> str:
    if unit == "size":
        return units.SIZE_EXPECTED
    if unit == "duration":
        return units.DURATION_EXPECTED + (" above 0" if kind.gt is not None else "")
    what = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    least, most = kind.ge, kind.le
    if least is not None and least == most:
        return str(least)
    if least is not None:
        return f"{what} from {least} to {most if most is not None else _LARGEST[unit]}"
    return what
