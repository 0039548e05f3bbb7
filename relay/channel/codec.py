"""Frames to bytes and back: a 4-byte big-endian length, then msgpack. Pure.

A reader never holds more than one frame beyond what it was given, refuses a length over
its limit before the frame arrives, and turns every kind of garbage into BadFrame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from relay.channel.frames import MAX_TO_CHILD, MAX_TO_MASTER, Frame, ToChild, ToMaster

_HEAD = 4
_encoder = msgspec.msgpack.Encoder()


class BadFrame(Exception):
    """The peer does not speak this protocol: the connection is to be dropped."""


def pack(frame: Frame) -> bytes:
    """The bytes of one frame."""
    payload = _encoder.encode(frame)
    return len(payload).to_bytes(_HEAD, "big") + payload


class FrameReader:
    """Cuts a byte stream, in any split, into frames of one direction."""

    __slots__ = ("_buffer", "_decode", "_limit")

    def __init__(self, kinds: Any, limit: int) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._limit = limit
        self._buffer = bytearray()

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


def reader_for_master() -> FrameReader:
    """Reads what children say."""
    return FrameReader(ToMaster, MAX_TO_MASTER)


def reader_for_child() -> FrameReader:
    """Reads what the master says."""
    return FrameReader(ToChild, MAX_TO_CHILD)
