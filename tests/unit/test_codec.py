"""Frames: any split of the bytes, garbage, and lengths that are a lie (N01, N04, N06)."""

from __future__ import annotations

import json
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel.codec import FROM_SENDER, TO_SENDER, BadFrame, FrameReader, pack
from relay.channel.frames import MAX_TO_CHILD, MAX_TO_MASTER, Frame
from relay.message.values import Outcome, Result
from tests.unit.test_session import offer

OUTCOME = Outcome(Result.DEFERRED, "450 later", 450, "reply", "rcpt", "mx.test", "192.0.2.7", "0.0.0.0", 1.5, True)
TO_MASTER: list[Frame] = [
    frames.Hello(1, "secret", "child", "default", 77),
    frames.Answered(1, "mx.test", "192.0.2.7"),
    frames.Quiet(2),
    frames.Active(2),
    frames.Done(3, (1 << 62) + 5, OUTCOME, True),
    frames.Closed(3),
    frames.More(9, 1),
    frames.Pong(4),
]
TO_CHILD: list[Frame] = [
    frames.Welcome((1 << 31) - 1, 2.0, 8.0),
    offer(),
    offer(body=None, chunks=3, body_size=600_000),
    frames.Go(1),
    frames.Close(1),
    frames.Chunk(9, 0, b"\0\xff" * 100),
    frames.Chunk(9, 1, None),
    frames.Settled(10),
    frames.Ping(1),
    frames.Hold(True),
    frames.Quit(),
]
LONG = [frames.Chunk(1, 0, b"x" * frames.CHUNK), frames.Ping(1)]


def read(reader: FrameReader, pieces: list[bytes]) -> tuple[list[Any], bool]:
    """The frames that come out, and whether the stream was refused."""
    found: list[Any] = []
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                found.append(frame)
    except BadFrame:
        return found, True
    return found, False


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


cuts = st.lists(st.integers(0, 100_000), max_size=12)


class Codec(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(TO_MASTER), max_size=8), cuts)
    def test_any_split_to_master(self, sent: list[Frame], cuts: list[int]) -> None:
        data = b"".join(map(pack, sent))
        self.assertEqual(read(FrameReader(FROM_SENDER), split(data, cuts)), (sent, False))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(TO_CHILD), max_size=8), cuts)
    def test_any_split_to_child(self, sent: list[Frame], cuts: list[int]) -> None:
        data = b"".join(map(pack, sent))
        self.assertEqual(read(FrameReader(TO_SENDER), split(data, cuts)), (sent, False))

    def test_byte_by_byte(self) -> None:
        data = b"".join(map(pack, TO_CHILD))
        self.assertEqual(read(FrameReader(TO_SENDER), [bytes([byte]) for byte in data]), (TO_CHILD, False))

    def test_full_chunks(self) -> None:
        data = b"".join(map(pack, LONG))
        pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
        self.assertEqual(read(FrameReader(TO_SENDER), pieces), (LONG, False))

    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.sampled_from(TO_MASTER), max_size=4), st.binary(max_size=80), cuts)
    def test_frames_before_garbage_count_in_any_split(self, sent: list[Frame], garbage: bytes, cuts: list[int]) -> None:
        data = b"".join(map(pack, sent)) + b"\xff\xff\xff\xff" + garbage
        self.assertEqual(read(FrameReader(FROM_SENDER), split(data, cuts)), (sent, True))

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=200), cuts)
    def test_no_bytes_raise_anything_else(self, data: bytes, cuts: list[int]) -> None:
        whole = read(FrameReader(FROM_SENDER), [data])
        self.assertEqual(read(FrameReader(FROM_SENDER), split(data, cuts)), whole)
        framed = len(data).to_bytes(4, "big") + data
        self.assertEqual(read(FrameReader(FROM_SENDER), split(framed, cuts)), read(FrameReader(FROM_SENDER), [framed]))

    def test_N04_a_length_over_the_limit_is_refused_before_the_frame_comes(self) -> None:
        for length in (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 64 << 20, MAX_TO_MASTER + 1, 0):
            self.assertEqual(read(FrameReader(FROM_SENDER), [length.to_bytes(4, "big")]), ([], True), length)
        self.assertEqual(read(FrameReader(TO_SENDER), [(MAX_TO_CHILD + 1).to_bytes(4, "big")]), ([], True))

    def test_N04_the_longest_offer_fits(self) -> None:
        longest = offer(headers=b"x" * frames.MAX_HEADER, body=b"x" * frames.CHUNK, sender="s" * 400)
        self.assertEqual(read(FrameReader(TO_SENDER), [pack(longest)]), ([longest], False))

    def test_N04_a_drip_holds_no_more_than_one_frame(self) -> None:
        reader = FrameReader(FROM_SENDER)
        self.assertEqual(read(reader, [MAX_TO_MASTER.to_bytes(4, "big")] + [b"x" * 1000] * 65), ([], False))
        self.assertEqual(read(reader, [b"x" * 1000]), ([], True))

    def test_N06_what_other_protocols_say(self) -> None:
        deep = b"\x91" * 60_000 + b"\xc0"
        for payload in (
            json.dumps({"cmd": "HELLO", "id": "x"}).encode(),
            pickle.dumps(print),
            b"\x93\x08\xcb\x7f\xf8\0\0\0\0\0\0",  # NaN for a number
            b"\x92\x08\xa3\xed\xa0\x80",  # a lone surrogate
            deep,
            b"\xc1",
        ):
            framed = len(payload).to_bytes(4, "big") + payload
            self.assertEqual(read(FrameReader(FROM_SENDER), [framed]), ([], True), payload[:20])

    def test_each_side_reads_only_what_is_said_to_it(self) -> None:
        for frame in TO_CHILD:
            if len(pack(frame)) < MAX_TO_MASTER:
                self.assertEqual(read(FrameReader(FROM_SENDER), [pack(frame)]), ([], True), frame)
        for frame in TO_MASTER:
            self.assertEqual(read(FrameReader(TO_SENDER), [pack(frame)]), ([], True), frame)

    def test_tags_are_unique(self) -> None:
        tags = [frame.__struct_config__.tag for frame in {type(frame) for frame in TO_MASTER + TO_CHILD}]
        self.assertEqual(len(tags), len(set(tags)))
