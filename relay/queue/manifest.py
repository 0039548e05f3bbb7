"""Reads LevelDB's MANIFEST: which tables and which write log the database consists of.

LevelDB notices a missing table, but not a missing or older write log: it opens as if what
was in it had never been written. So this is checked before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_COMPARATOR, _LOG, _NEXT_FILE, _LAST_SEQUENCE = 1, 2, 3, 4
_COMPACT_POINTER, _DELETED_FILE, _NEW_FILE, _PREVIOUS_LOG = 5, 6, 7, 9


@dataclass
class Manifest:
    """The sum of a MANIFEST's edits: the oldest write log still needed, the last sequence
    number that lies in tables, and the size of each live table by its number."""

    log: int = 0
    last_sequence: int = 0
    tables: dict[int, int] = field(default_factory=dict)


def read_manifest(edits: Iterable[bytes]) -> Manifest:
    """Add up the edits (records of the MANIFEST). ValueError when one makes no sense."""
    manifest = Manifest()
    for edit in edits:
        try:
            _apply(manifest, edit)
        except IndexError as error:
            raise ValueError("an edit is cut short") from error
    return manifest


def _apply(manifest: Manifest, edit: bytes) -> None:
    at = 0
    while at < len(edit):
        tag, at = _number(edit, at)
        if tag == _COMPARATOR:
            _, at = _text(edit, at)
        elif tag == _LOG:
            manifest.log, at = _number(edit, at)
        elif tag == _LAST_SEQUENCE:
            manifest.last_sequence, at = _number(edit, at)
        elif tag in (_NEXT_FILE, _PREVIOUS_LOG):
            _, at = _number(edit, at)
        elif tag == _COMPACT_POINTER:
            _, at = _number(edit, at)
            _, at = _text(edit, at)
        elif tag == _DELETED_FILE:
            _, at = _number(edit, at)
            table, at = _number(edit, at)
            manifest.tables.pop(table, None)
        elif tag == _NEW_FILE:
            _, at = _number(edit, at)
            table, at = _number(edit, at)
            manifest.tables[table], at = _number(edit, at)
            _, at = _text(edit, at)
            _, at = _text(edit, at)
        else:
            raise ValueError(f"an edit has the unknown tag {tag}")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint64: (value, offset behind it)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has no end")


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """A text behind its length: (text, offset behind it)."""
    length, at = _number(data, at)
    if at + length > len(data):
        raise IndexError(at)
    return data[at : at + length], at + length
