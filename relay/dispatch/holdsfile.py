"""The file beside the queue that keeps the holds: whole on disk, or the old one.

A hold that is silently lost sends mail that somebody stopped. So what can't be read is no
empty list but a reason not to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from relay.config.plain import shown
from relay.keep import replace
from relay.zone.decision import Scope
from relay.zone.hold import BadHold, Hold, made

#: Holds at once.
MOST = 10_000
#: Ten thousand holds with the longest names and reasons there can be (bytes).
_LARGEST = 128 * 1024 * 1024
_VERSION = 1
_is_id = re.compile(r"[0-9a-z]{1,32}").fullmatch


class HoldsUnusable(Exception):
    """The file can't be read; the text is one clear line for the operator."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A hold as it stands in the file, flat: a name that isn't understood must not make it wider."""

    id: str
    zone: str = ""
    domain: str = ""
    site: str = ""
    address: str = ""
    user: str = ""
    everything: bool = False
    reason: str
    since: int
    until: int = 0


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    holds: list[_Entry]


_decode = msgspec.json.Decoder(_File).decode


def read(path: Path) -> list[Hold]:
    """The holds in the file, none where there is no file.

    Raises:
        HoldsUnusable: it can't be read, or isn't what `write` writes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"expected at most {_LARGEST} bytes")
        return _holds(_decode(data))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise _unusable(path, str(error)) from None


def _unusable(path: Path, reason: str) -> HoldsUnusable:
    return HoldsUnusable(
        f"{path}: the holds can't be read: {reason}; mend it, or move it away and hold again what must not be sent"
    )


def _holds(file: _File) -> list[Hold]:
    if file.version != _VERSION:
        raise ValueError(f"expected version {_VERSION}, got {shown(file.version)}")
    if len(file.holds) > MOST:
        raise ValueError(f"expected at most {MOST} holds, got {len(file.holds)}")
    found: dict[str, Hold] = {}
    for number, entry in enumerate(file.holds):
        if not _is_id(entry.id) or entry.id in found:
            raise ValueError(f"holds[{number}].id: expected an id of its own, got {shown(entry.id)}")
        scope = Scope(**{field: getattr(entry, field) for field in Scope.__struct_fields__})
        try:
            found[entry.id] = made(entry.id, scope, entry.reason, entry.since, entry.until, entry.everything)
        except BadHold as error:
            raise ValueError(f"holds[{number}].{error}") from None
    return list(found.values())


def write(path: Path, holds: Iterable[Hold]) -> None:
    """Put a new file in the place of the old one; it is on disk when this returns. Blocks.

    Raises:
        OSError: it may or may not be; what was there before, or this, will be read.
    """
    entries = [
        _Entry(
            id=hold.id,
            **{field: getattr(hold.scope, field) for field in Scope.__struct_fields__},
            everything=hold.scope == Scope(),
            reason=hold.reason,
            since=hold.since,
            until=hold.until,
        )
        for hold in holds
    ]
    data = msgspec.json.encode(_File(_VERSION, entries))
    replace(path, data)
