"""Frames to bytes and back: a 4-byte big-endian length, then msgpack. Pure.

A reader never holds more than one frame beyond what it was given, refuses a length over
its limit before the frame arrives, and turns every kind of garbage into BadFrame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from relay.channel.frames import MAX_HELLO, MAX_TO_CHILD, MAX_TO_MASTER, Frame, Hello, ToChild, ToMaster
from relay.channel.reception import MAX_FROM_RECEIVER, MAX_TO_RECEIVER, FromReceiver, ToReceiver

_HEAD = 4
_encoder = msgspec.msgpack.Encoder()


class BadFrame(Exception):
    """The peer does not speak this protocol: the connection is to be dropped."""


def pack(frame: Frame) -> bytes:
    """The bytes of one frame."""
    payload = _encoder.encode(frame)
    return len(payload).to_bytes(_HEAD, "big") + payload


class Tongue(NamedTuple):
    """What may come from one side: the frames there are, and how long one may be (bytes)."""

    kinds: Any
    limit: int


#: What the master hears of whoever is not let in yet.
STRANGER = Tongue(Hello, MAX_HELLO)
FROM_SENDER = Tongue(ToMaster, MAX_TO_MASTER)
TO_SENDER = Tongue(ToChild, MAX_TO_CHILD)
FROM_RECEIVER = Tongue(FromReceiver, MAX_FROM_RECEIVER)
TO_RECEIVER = Tongue(ToReceiver, MAX_TO_RECEIVER)


class FrameReader:
    """Cuts a byte stream, in any split, into frames of one side."""

    __slots__ = ("_buffer", "_decode", "_limit")

    def __init__(self, tongue: Tongue) -> None:
        self._buffer = bytearray()
        self.learn(tongue)

    def learn(self, tongue: Tongue) -> None:
        """Read this from the next frame on, also of what has been fed already."""
        self._decode = msgspec.msgpack.Decoder(tongue.kinds).decode
        self._limit = tongue.limit

    def feed(self, data: bytes) -> Iterator[Any]:
        """The frames completed by `data`, one by one. Raises BadFrame behind the last good
        one, whatever the split; nothing can be fed afterwards."""
        buffer = self._buffer
        buffer += data
        start, have = 0, len(buffer)
        view = memoryview(buffer)
        try:
            while have - start >= _HEAD:
                length = int.from_bytes(view[start : start + _HEAD], "big")
                if not 0 < length <= self._limit:
                    raise BadFrame(f"frame of {length} bytes")
                end = start + _HEAD + length
                if end > have:
                    break
                frame = self._read(view[start + _HEAD : end])
                start = end
                yield frame
        finally:
            view.release()
        if start:
            del buffer[:start]

    def _read(self, payload: memoryview) -> Any:
        try:
            return self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadFrame(str(error)[:200]) from None
