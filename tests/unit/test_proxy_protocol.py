"""The PROXY header on its own: both versions, any split, anything else."""

from __future__ import annotations

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.net.proxy_protocol import LONGEST_1, LONGEST_2, Client, ProxyError, ProxyHeader, encode_1, encode_2

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PORTS = st.integers(0, 65535)
CLIENTS = st.one_of(
    st.builds(Client, st.ip_addresses(v=4).map(str), PORTS), st.builds(Client, st.ip_addresses(v=6).map(str), PORTS)
)


def read(data: bytes, pieces: int = 0) -> ProxyHeader | None:
    """The header in `data`, given whole or in pieces of that size; None: it is incomplete."""
    header = ProxyHeader()
    given = [data[i : i + pieces] for i in range(0, len(data), pieces)] if pieces else [data]
    for number, piece in enumerate(given):
        if header.feed(piece):
            header.rest += b"".join(given[number + 1 :])
            return header
    return None


def verdict(data: bytes, pieces: int = 0) -> object:
    try:
        header = read(data, pieces)
    except ProxyError:
        return "error"
    return None if header is None else (header.client, header.rest)


def second(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


class Properties(SynchronousTestCase):
    @settings(deadline=None)
    @given(CLIENTS, CLIENTS, st.binary(max_size=40), st.integers(0, 20), st.sampled_from([encode_1, encode_2]))
    def test_what_is_written_is_read(
        self, client: Client, other: Client, rest: bytes, pieces: int, encode: object
    ) -> None:
        server = other if (":" in other.host) is (":" in client.host) else client
        assert callable(encode)
        self.assertEqual(verdict(encode(client, server) + rest, pieces), (client, rest))

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.integers(0, 20), st.binary(max_size=300))
    def test_unknown(self, rest: bytes, pieces: int, extra: bytes) -> None:
        self.assertEqual(verdict(encode_1(None) + rest, pieces), (None, rest))
        self.assertEqual(verdict(encode_2(None, extra=extra) + rest, pieces), (None, rest))

    @settings(deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.binary(max_size=200).map(lambda data: b"PROXY " + data),
            st.binary(max_size=200).map(lambda data: SIGNATURE + data),
            st.tuples(st.sampled_from([0x20, 0x21, 0x11]), st.integers(0, 255), st.binary(max_size=250)).map(
                lambda parts: second(*parts)
            ),
            st.lists(
                st.sampled_from([b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"1.2.3.4", b"::1", b"25", b"99999", b"01"])
            ).map(lambda words: b" ".join(words) + b"\r\n."),
        ),
        st.integers(1, 7),
    )
    @example(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xb2\r\n", 1)
    @example(b"PROXY TCP6 ::\xff ::1 1 2\r\n", 1)
    def test_any_split_of_anything_comes_to_the_same(self, data: bytes, pieces: int) -> None:
        self.assertEqual(verdict(data, pieces), verdict(data))

    @settings(deadline=None)
    @given(st.sampled_from([b"PROXY ", SIGNATURE]), st.binary(max_size=3000))
    def test_bounded(self, begin: bytes, data: bytes) -> None:
        """Whatever it is, there is a verdict when the bounds are reached."""
        data = begin + data
        if verdict(data) is None:
            self.assertLess(len(data), LONGEST_1 if begin == b"PROXY " else LONGEST_2)


class First(SynchronousTestCase):
    """Section 2.1."""

    def test_good(self) -> None:
        client = Client("192.0.2.9", 56324)
        self.assertEqual(verdict(b"PROXY TCP4 192.0.2.9 198.51.100.1 56324 25\r\nEHLO"), (client, b"EHLO"))
        client = Client("2001:db8::9", 0)
        self.assertEqual(verdict(b"PROXY TCP6 2001:DB8:0::9 ::1 0 65535\r\n"), (client, b""))
        self.assertEqual(verdict(b"PROXY UNKNOWN ffff::1 whatever it says\r\nx"), (None, b"x"))

    def test_incomplete(self) -> None:
        line = b"PROXY TCP4 192.0.2.9 198.51.100.1 56324 25\r\n"
        for end in range(len(line)):
            self.assertIsNone(verdict(line[:end]))

    def test_bad(self) -> None:
        for line in [
            b"EHLO x",
            b"PROXZ",
            b"proxy TCP4 1.2.3.4 5.6.7.8 1 2",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3",
            b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2",
            b"PROXY TCP4 1.2.3.4 5.6.7.8  2",
            b"PROXY TCP4 1.2.3 5.6.7.8 1 2",
            b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2",
            b"PROXY TCP4 1.2.3.4 5.6.7.x 1 2",
            b"PROXY TCP4 ::1 ::1 1 2",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2",
            b"PROXY TCP6 ::1 fe80::1%eth0 1 2",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2",
            b"PROXY TCP4\n1.2.3.4 5.6.7.8 1 2",
            b"PROXY ",
        ]:
            self.assertEqual(verdict(line + b"\r\n"), "error", line)

    def test_length(self) -> None:
        """107 bytes with CRLF, no byte more."""
        self.assertEqual(verdict(b"PROXY UNKNOWN".ljust(105) + b"\r\n."), (None, b"."))
        for data in (b"PROXY UNKNOWN".ljust(106) + b"\r\n", b"PROXY UNKNOWN".ljust(107)):
            self.assertEqual(verdict(data), "error")
        self.assertIsNone(verdict(b"PROXY UNKNOWN".ljust(105) + b"\r"))


class Second(SynchronousTestCase):
    """Section 2.2."""

    def test_known_bytes(self) -> None:
        block = b"\xc0\x00\x02\x09\xc6\x33\x64\x01\xdc\x04\x00\x19"
        data = SIGNATURE + b"\x21\x11\x00\x0c" + block
        self.assertEqual(verdict(data + b"\x16\x03"), (Client("192.0.2.9", 56324), b"\x16\x03"))
        self.assertEqual(encode_2(Client("192.0.2.9", 56324), Client("198.51.100.1", 25)), data)

    def test_further_fields_are_skipped(self) -> None:
        client = Client("2001:db8::9", 7)
        for extra in (b"\x04\x00\x03abc", b"\xff", b"x" * (LONGEST_2 - 16 - 36)):
            self.assertEqual(verdict(encode_2(client, extra=extra) + b"EHLO"), (client, b"EHLO"))

    def test_those_that_say_nothing(self) -> None:
        for command, family, block in [
            (0x20, 0x00, b""),
            (0x20, 0x11, b"\xff" * 12),
            (0x20, 0x77, b"?"),
            (0x21, 0x00, b""),
            (0x21, 0x00, b"tlv"),
            (0x21, 0x31, b"\0" * 216),
        ]:
            self.assertEqual(verdict(second(command, family, block) + b"x"), (None, b"x"), (command, family))

    def test_bad(self) -> None:
        for command, family, block in [
            (0x11, 0x11, b"\0" * 12),
            (0x31, 0x11, b"\0" * 12),
            (0x22, 0x11, b"\0" * 12),
            (0x21, 0x12, b"\0" * 12),
            (0x21, 0x11, b"\0" * 11),
            (0x21, 0x21, b"\0" * 35),
            (0x21, 0x31, b"\0" * 215),
            (0x21, 0x41, b"\0" * 300),
            (0x21, 0x00, b"\0" * (LONGEST_2 - 15)),
            (0x20, 0x00, b"\0" * (LONGEST_2 - 15)),
        ]:
            self.assertEqual(verdict(second(command, family, block)), "error", (command, family, len(block)))

    def test_refused_before_it_has_come(self) -> None:
        """The length alone is enough."""
        self.assertEqual(verdict(SIGNATURE + b"\x21\x11\xff\xff"), "error")
        self.assertEqual(verdict(SIGNATURE + b"\x21\x11\x00\x05"), "error")
