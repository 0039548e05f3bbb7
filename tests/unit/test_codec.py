"""Frames: any split of the bytes, garbage, and lengths that are a lie (N01, N04, N06)."""

from __future__ import annotations

import json
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames, reception
from relay.channel.codec import (
    FROM_RECEIVER,
    FROM_SENDER,
    STRANGER,
    TO_RECEIVER,
    TO_SENDER,
    BadFrame,
    FrameReader,
    pack,
)
from relay.channel.frames import CHUNK, MAX_HEADER, MAX_TO_CHILD, MAX_TO_MASTER, Frame
from relay.message.envelope import Envelope, Recipient
from relay.message.tls import TlsPolicy, TlsResult
from relay.message.user import User
from relay.message.values import Origin, Outcome, Result
from relay.smtp.reply import reply
from relay.smtp.xtext import MAX_ORCPT
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
    frames.Redial(3),
    frames.Redial(3, True),
    frames.Fared(9, OUTCOME),
    frames.Fared(10, None),
    frames.TlsResults(
        (
            (TlsResult(TlsPolicy("to.test")), 3),
            (TlsResult(TlsPolicy("to.test", "sts", ("version: STSv1",), ("*.to.test",)), "sts-policy-invalid", "x"), 1),
        )
    ),
]
TO_CHILD: list[Frame] = [
    frames.Welcome((1 << 31) - 1, 2.0, 8.0),
    offer(),
    offer(body=None, chunks=3, body_size=600_000),
    offer(fellows=(frames.Fellow(8, 2, "c@to.test"), frames.Fellow(9, 3, "d@to.test", "NEVER", "rfc822;d@to.test"))),
    frames.Go(1),
    frames.Go(1, 20),
    frames.Dial(1),
    frames.Close(1),
    frames.Chunk(9, 0, b"\0\xff" * 100),
    frames.Chunk(9, 1, None),
    frames.Settled(10),
    frames.Ping(1),
    frames.Hold(True),
    frames.Quit(),
]
NO = reply(550, "5.7.1 no", "really")
FROM_A_RECEIVER: list[Frame] = [
    reception.Entered(1, "2001:db8::1"),
    reception.Left("2001:db8::1"),
    reception.Login(1, "PLAIN", "192.0.2.1", "client.test", ("a@b.test", "c.test"), b"\0me\0secret"),
    reception.Login(2, "LOGIN", "192.0.2.1", "", (), None),
    reception.Response(2, b"\xff"),
    reception.Cancel(2),
    reception.Open(1, Origin("feeder", "192.0.2.1", "client.test", "ESMTPSA"), User("me", ("@b.test",)), 3),
    reception.Open(2, Origin("feeder", "192.0.2.1"), None, 0),
    reception.To(1, (Recipient("d@e.test", "NEVER", "rfc822;d@e.test"),)),
    reception.Finish(1, Envelope("a@b.test", (Recipient("f@e.test"),)), b"A: b\r\n", 4, 0, b"hi\r\n", True, b"h" * 32),
    reception.Abandon(2),
    reception.Abandon(3, "a@b.test", reply(552, "5.3.4 Too big")),
    reception.Happened({"connected": 3, "tls": 1}),
    frames.Pong(3),
]
TO_A_RECEIVER: list[Frame] = [
    frames.Welcome((1 << 31) - 1, 2.0, 8.0),
    reception.Pass(1),
    reception.Pass(2, NO),
    reception.Answer(1, challenge=b"\xff"),
    reception.Answer(1, user=User("me", ("@b.test",), ("b.test",), "bulk")),
    reception.Answer(1, refusal=NO),
    reception.Opened(1, "0" * 18),
    reception.Opened(2, "", NO),
    reception.Taken(1, 2),
    reception.Verdict(1, "0" * 18, 77),
    reception.Verdict(1, "", refusal=NO),
    frames.Ping(1),
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
    def test_the_largest_offer_fits(self) -> None:
        """The longest header, a chunk of body, and as many fellows as a zone may have, with all that RCPT can say."""
        fellow = frames.Fellow(1 << 62, 1 << 24, "r" * 320, "SUCCESS,FAILURE,DELAY", "o" * MAX_ORCPT)
        largest = offer(headers=b"h" * MAX_HEADER, body=b"b" * CHUNK, fellows=(fellow,) * 999)
        self.assertEqual(read(FrameReader(TO_SENDER), [pack(largest)]), ([largest], False))

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

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(FROM_A_RECEIVER), max_size=8), cuts)
    def test_any_split_from_a_receiver(self, sent: list[Frame], cuts: list[int]) -> None:
        data = b"".join(map(pack, sent))
        self.assertEqual(read(FrameReader(FROM_RECEIVER), split(data, cuts)), (sent, False))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(TO_A_RECEIVER), max_size=8), cuts)
    def test_any_split_to_a_receiver(self, sent: list[Frame], cuts: list[int]) -> None:
        data = b"".join(map(pack, sent))
        self.assertEqual(read(FrameReader(TO_RECEIVER), split(data, cuts)), (sent, False))

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(FROM_A_RECEIVER), st.integers(0, 400), st.integers(0, 255))
    def test_N06_a_damaged_frame_is_refused_or_another(self, frame: Frame, at: int, byte: int) -> None:
        data = bytearray(pack(frame))
        data[4 + at % (len(data) - 4)] = byte
        read(FrameReader(FROM_RECEIVER), [bytes(data)])

    def test_a_reader_that_learns_on_its_way(self) -> None:
        hello, frame = TO_MASTER[0], FROM_A_RECEIVER[0]
        reader = FrameReader(STRANGER)
        for found in reader.feed(pack(hello) + pack(frame)):
            if found == hello:
                reader.learn(FROM_RECEIVER)
            else:
                self.assertEqual(found, frame)

    def test_N04_a_receivers_fields_have_their_limits(self) -> None:
        piece = reception.Piece(1, 0, b"x" * CHUNK)
        self.assertEqual(read(FrameReader(FROM_RECEIVER), [pack(piece)]), ([piece], False))
        for wrong in (
            reception.Piece(1, 0, b"x" * (CHUNK - 1)),
            reception.Piece(1, 0, b"x" * (CHUNK + 1)),
            reception.Piece(0, 0, b"x" * CHUNK),
            reception.Piece(-1, 0, b"x" * CHUNK),
            reception.Piece(1, -1, b"x" * CHUNK),
            reception.Entered(1 << 63, "192.0.2.1"),
            reception.Entered(1, "1" * 257),
            reception.Response(1, b"x" * (16 * 1024 + 1)),
            reception.Login(1, "PLAIN", "192.0.2.1", "", ("a",) * 101, None),
            reception.To(1, ()),
            reception.To(1, (Recipient("a@b.test"),) * (reception.RECIPIENTS + 1)),
            reception.Finish(1, Envelope(), b"", CHUNK + 1, 0, b"x" * (CHUNK + 1), False, b""),
            reception.Finish(1, Envelope(), b"x" * (frames.MAX_HEADER + 1), 0, 0, b"", False, b""),
        ):
            self.assertEqual(read(FrameReader(FROM_RECEIVER), [pack(wrong)]), ([], True), str(wrong)[:100])

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
        for frame in FROM_A_RECEIVER[:-1]:
            for tongue in (STRANGER, FROM_SENDER, TO_SENDER, TO_RECEIVER):
                self.assertEqual(read(FrameReader(tongue), [pack(frame)]), ([], True), frame)
        for frame in TO_A_RECEIVER:
            self.assertEqual(read(FrameReader(FROM_RECEIVER), [pack(frame)]), ([], True), frame)

    def test_N01_of_a_stranger_only_a_hello_is_read(self) -> None:
        self.assertEqual(read(FrameReader(STRANGER), [pack(TO_MASTER[0])]), ([TO_MASTER[0]], False))
        for frame in TO_MASTER[1:]:
            self.assertEqual(read(FrameReader(STRANGER), [pack(frame)]), ([], True), frame)
        length = (frames.MAX_HELLO + 1).to_bytes(4, "big")
        self.assertEqual(read(FrameReader(STRANGER), [length]), ([], True))

    def test_tags_are_unique(self) -> None:
        tags = [frame.__struct_config__.tag for frame in _kinds()]
        self.assertEqual(len(tags), len(set(tags)))


def _kinds() -> set[type[Frame]]:
    return {type(frame) for frame in TO_MASTER + TO_CHILD + FROM_A_RECEIVER + TO_A_RECEIVER} | {reception.Piece}
