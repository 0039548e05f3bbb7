"""Sizes and durations as people write them: "30MB", "4h".

One number and one unit, upper or lower case. KB, MB, GB and TB are powers of 1024.
"5m" is five minutes, "5MB" five megabytes: a file never has to guess, since each key
takes either the one or the other.
"""

from __future__ import annotations

from collections.abc import Mapping

SIZES: Mapping[str, int] = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
DURATIONS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

#: Nothing may be larger; it keeps sums of configured numbers inside 64 bits and clocks.
MAX_SIZE = 1 << 50
MAX_SECONDS = 3650 * 86400.0


class UnitError(ValueError):
    """A string that is no such amount; its text says what was expected."""


def size(text: str) -> int:
    """Bytes of "30MB"; a fraction is rounded down. Raises UnitError."""
    number = _split(text, SIZES, SIZE_EXPECTED)
    if number > MAX_SIZE:
        raise UnitError("a size of at most 1024TB")
    return int(number)


def duration(text: str) -> float:
    """Seconds of "4h". Raises UnitError."""
    number = _split(text, DURATIONS, DURATION_EXPECTED)
    if number > MAX_SECONDS:
        raise UnitError("a duration of at most 3650d")
    return number


SIZE_EXPECTED = 'a size such as "30MB" (B, KB, MB, GB, TB) or a number of bytes'
DURATION_EXPECTED = 'a duration such as "4h" (ms, s, m, h, d, w) or a number of seconds'


#: Seconds of the units of a rate: a letter, or a word that begins with it.
_PER = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d"}
RATE_EXPECTED = 'a rate such as "100/s", "60/m", "1000/h" or "50000/d"'
BYTE_RATE_EXPECTED = 'a rate such as "10MB/s" or "5GB/d"'


def rate(text: str) -> tuple[float, float]:
    """`100/m`, or `100 messages/minute`, as (100.0, 60.0 seconds). Raises UnitError."""
    amount, per = _per(text, RATE_EXPECTED)
    number = amount.removesuffix("messages").removesuffix("message").strip()
    if len(number) > 12 or not number.isascii() or not number.replace(".", "", 1).isdigit() or not float(number):
        raise UnitError(RATE_EXPECTED)
    return float(number), per


def byte_rate(text: str) -> tuple[float, float]:
    """`10MB/s` as (10485760.0, 1.0 second). Raises UnitError."""
    amount, per = _per(text, BYTE_RATE_EXPECTED)
    number = _split(amount, SIZES, BYTE_RATE_EXPECTED)
    if not 1 <= number <= MAX_SIZE:
        raise UnitError(BYTE_RATE_EXPECTED)
    return number, per


def _per(text: str, wanted: str) -> tuple[str, float]:
    """What stands before the slash, and the seconds that the word behind it names."""
    amount, slash, word = text.strip().lower().partition("/")
    word = word.strip().removesuffix("s") if len(word.strip()) > 1 else word.strip()
    per = _PER.get(_WORDS.get(word, word))
    if not slash or per is None:
        raise UnitError(wanted)
    return amount.strip(), per


def _split(text: str, units: Mapping[str, float], expected: str) -> float:
    """The number of `text` times its unit."""
    compact = text.strip().lower()
    number = compact.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = units.get(compact[len(number) :])
    number = number.rstrip()
    # Only digits and one point: float() alone would take "1e3", "1_0", "٣" and "nan".
    if unit is None or len(number) > 20 or not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise UnitError(expected)
    return float(number) * unit
