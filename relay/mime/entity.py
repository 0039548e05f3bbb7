"""Parts of a message, and parts of parts (RFC 2046 5.1): header lines and octets, ready to be written. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from relay.mime import parameter
from relay.mime.field import folded
from relay.mime.transfer import Encoding, written


class Entity(NamedTuple):
    """`header`: lines, each with its CRLF, all about content. `pieces`: the body, in order.
    A part that came with a header of its own has it in its body, and None here."""

    header: str | None
    pieces: tuple[bytes, ...]


def leaf(
    kind: str, parameters: dict[str, str], data: bytes, encoding: Encoding, more: str = ""
) -> Entity:
    """A part of one type. `more`: other lines of its header."""
    header = _content_type(kind, tuple(parameters.items())) + more + f"Content-Transfer-Encoding: {encoding}\r\n"
    return Entity(header, (written(data, encoding),))


@lru_cache(256)
def _content_type(kind: str, parameters: tuple[tuple[str, str], ...]) -> str:
    """Most parts are of a few types, without a name."""
    return folded("contentType", "Content-Type", parameter.value(kind, dict(parameters)))


def prepared(data: bytes) -> Entity:
    """A part that has its own header."""
    return Entity(None, (data,))


class Boundaries:
    """Lines that can't be in any part: nothing that is encoded has `=_`, and nobody knows the seed of a message
    that is to be written."""

    def __init__(self, seed: str) -> None:
        """`seed`: letters and digits, at most 40."""
        self._names: Iterator[str] = (f"=_{seed}_{number}" for number in count(1))

    def joined(self, kind: str, parts: Sequence[Entity], **parameters: str) -> Entity:
        """A multipart of this kind."""
        boundary = next(self._names)
        line = f"\r\n--{boundary}".encode("ascii")
        pieces: list[bytes] = []
        for part in parts:
            pieces += (line, b"\r\n")
            if part.header is not None:
                pieces += (part.header.encode(), b"\r\n")
            pieces += part.pieces
        pieces += (line, b"--\r\n")
        value = parameter.value(f"multipart/{kind}", {**parameters, "boundary": boundary})
        # The line end before the first boundary belongs to it, with nothing in front.
        pieces[0] = pieces[0][2:]
        return Entity(folded("contentType", "Content-Type", value), tuple(pieces))
