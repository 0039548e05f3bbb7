"""Which header fields are signed, and what of them is hashed (RFC 6376 3.5 `h=`, 5.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from relay.dkim.canon import relaxed_field
from relay.message.headers import HeaderBlock, Span, field_names

#: So many fields of one name are covered, the lowest, and above them any can be added; no sound message has more.
_MOST = 20


class Chosen(NamedTuple):
    """`names` are those of `h=`, in lower case; `text` is what their fields add to the hash."""

    names: tuple[str, ...]
    text: bytes


class Choice:
    """Chooses fields: the lowest one of each name, where there is one; of a name that is oversigned all of them,
    and one more that there isn't, so that nobody can add one. From is always among them, for a signature
    without it is none."""

    def __init__(
        self, names: Iterable[str], oversigned: Iterable[str], simple: bool = False, every: Iterable[str] = ()
    ) -> None:
        """`simple`: fields are hashed as they are, instead of in relaxed form. `every`: names of which all fields
        are taken and others may come."""
        all_names = tuple(dict.fromkeys(name.lower() for name in names))
        covered = frozenset(name.lower() for name in oversigned)
        self._every = frozenset(name.lower() for name in every)
        self._names = tuple((name, name.encode("ascii"), name in covered) for name in all_names)
        self._pattern = field_names(*all_names)
        self._simple = simple

    def of(self, block: HeaderBlock) -> Chosen:
        """What of a header is signed."""
        found: dict[bytes, list[Span]] = {}
        for field, span in block.find(self._pattern):
            found.setdefault(field, []).append(span)
        names: list[str] = []
        texts: list[bytes] = []
        for name, key, oversigned in self._names:
            spans = found.get(key)
            if spans is None:
                if oversigned or name == "from":
                    names.append(name)
                continue
            spans = spans[: -_MOST - 1 : -1] if oversigned or name in self._every else spans[-1:]
            names += [name] * min(len(spans) + oversigned, _MOST)
            for span in spans:
                texts.append(self._hashed(block.raw, key, span))
        return Chosen(tuple(names), b"".join(texts))

    def _hashed(self, raw: bytes, name: bytes, span: Span) -> bytes:
        if self._simple:
            return raw[span.start : span.end]
        return relaxed_field(name, raw[span.value : span.end]) + b"\r\n"
