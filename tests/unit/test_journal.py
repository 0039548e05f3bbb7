"""The outcome journal: damage costs its line only, and a holder is seen from elsewhere (N12, N26)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import relay
from relay.channel import journal
from relay.channel.journal import Acceptance, Journal, decode, encode, holder, left_behind

ELSEWHERE = os.environ | {"PYTHONPATH": str(Path(relay.__file__).parent.parent)}
ENTRY = Acceptance("0123456789abcdef01", 1, (5 << 32) + 1, "mx.test", "250 2.0.0 ok")

entries = st.builds(
    Acceptance,
    st.text("0123456789abcdef", min_size=18, max_size=18),
    st.integers(1, 0xFFF),
    st.integers(1, (1 << 63) - 1),
    st.text(max_size=20).filter(str.isprintable),
    st.text(max_size=200).filter(str.isprintable),
)


def acceptance(number: int, response: str = "250 ok") -> Acceptance:
    return Acceptance(f"{number:018x}", 1, number, "mx.test", response)


class Lines(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(entries, max_size=6))
    def test_what_is_written_is_read(self, given: list[Acceptance]) -> None:
        self.assertEqual(decode(b"".join(map(encode, given))), (given, 0))

    @settings(max_examples=80, deadline=None)
    @given(st.lists(entries, min_size=1, max_size=5), st.integers(0, 10_000))
    def test_a_torn_end_costs_its_line_only(self, given: list[Acceptance], cut: int) -> None:
        data = b"".join(map(encode, given))
        torn = data[: cut % len(data)]
        found, damaged = decode(torn)
        whole = torn.count(b"\n")
        self.assertEqual(found[:whole], given[:whole])
        self.assertLessEqual(len(found) - whole + damaged, 1)  # a line may lack no more than its end

    @settings(max_examples=80, deadline=None)
    @given(st.lists(entries, min_size=1, max_size=4), st.integers(0, 10_000), st.integers(1, 255))
    def test_a_damaged_byte_invents_nothing(self, given: list[Acceptance], where: int, mask: int) -> None:
        data = bytearray(b"".join(map(encode, given)))
        data[where % len(data)] ^= mask
        found, _ = decode(bytes(data))
        self.assertLessEqual(set(found), set(given))
        self.assertGreaterEqual(len(found), len(given) - 2)

    @settings(max_examples=80, deadline=None)
    @given(st.binary(max_size=200))
    def test_garbage_is_no_acceptance(self, garbage: bytes) -> None:
        found, _ = decode(garbage + b"\n" + encode(ENTRY))
        self.assertEqual(found[-1:], [ENTRY])


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.journal = Journal(self.directory / "00000005-1")

    def tearDown(self) -> None:
        self.journal.close()

    def write(self, *entries: Acceptance) -> None:
        """And the master is told."""
        try:
            self.journal.write(*entries)
        finally:
            for entry in entries:
                self.journal.told(entry.lease)

    def size(self) -> int:
        return sum(file.stat().st_size for file in left_behind(self.directory))

    def read(self) -> list[Acceptance]:
        found: list[Acceptance] = []
        for file in left_behind(self.directory, "00000005-1"):
            some, damaged = decode(file.read_bytes())
            self.assertEqual(damaged, 0)
            found += some
        return sorted(found, key=lambda entry: entry.lease)

    def test_modes(self) -> None:
        for file in left_behind(self.directory):
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)

    def test_all_settled_empties_it(self) -> None:
        for number in range(1, 4):
            self.write(acceptance(number))
        self.journal.settled(2)
        self.assertEqual([entry.lease for entry in self.read()], [1, 2, 3])
        self.journal.settled(3)
        self.assertEqual(self.read(), [])
        self.write(acceptance(4))
        self.assertEqual([entry.lease for entry in self.read()], [4])

    def test_it_stays_short_while_acceptances_never_pause(self) -> None:
        """What isn't settled is always there, what is goes although there is always one more."""
        longest = 0
        for number in range(1, 5001):
            self.write(acceptance(number, "250 " + "x" * 196))
            self.journal.settled(number - 7)
            found = {entry.lease for entry in self.read()} if number % 97 == 0 else None
            if found is not None:
                self.assertLessEqual(set(range(max(1, number - 6), number + 1)), found)
            longest = max(longest, self.size())
        self.assertLess(longest, 3 * journal._ROTATE)

    def test_a_full_disk_spoils_only_what_it_refused(self) -> None:
        self.write(acceptance(1))
        real = os.write
        with mock.patch.object(os, "write", lambda file, data: real(file, data[:10])):
            error = self.assertRaises(OSError, self.write, acceptance(2))
        self.assertEqual(error.errno, errno.ENOSPC)
        self.write(acceptance(3))
        self.assertEqual([entry.lease for entry in self.read()], [1, 3])

    def test_several_at_once_all_or_none(self) -> None:
        self.write(acceptance(1), acceptance(2), acceptance(3))
        self.assertEqual(self.read(), [acceptance(1), acceptance(2), acceptance(3)])
        written = os.write
        self.patch(os, "write", lambda file, data: written(file, data[: len(data) // 2]))
        self.assertRaises(OSError, self.write, acceptance(4), acceptance(5))
        self.patch(os, "write", written)
        self.assertEqual(self.read(), [acceptance(1), acceptance(2), acceptance(3)])
        self.journal.settled(5)
        self.assertEqual(self.read(), [])

    def test_what_is_told_of_long_after_it_was_written_stays(self) -> None:
        """By LMTP one of several has his mail, and the others are waited for; meanwhile much else is settled."""
        self.journal.write(acceptance(1), acceptance(2))
        self.journal.told(2)
        longest = 0
        for number in range(3, 6003):
            self.write(acceptance(number, "250 " + "x" * 196))
            self.journal.settled(number - 3)  # All but the last of those that were told of.
            if number % 97 == 0:
                self.assertLessEqual({1, number}, {entry.lease for entry in self.read()})
            longest = max(longest, self.size())
        self.assertLess(longest, 3 * journal._ROTATE)
        self.journal.told(1)
        self.journal.settled(6001)
        self.assertIn(1, {entry.lease for entry in self.read()})
        self.journal.settled(6002)
        self.assertEqual(self.read(), [])

    def test_what_can_not_be_written_again_stays_where_it_is(self) -> None:
        self.journal.write(acceptance(1))
        for number in range(2, 1502):
            self.write(acceptance(number, "250 " + "x" * 196))
        with mock.patch.object(os, "write", lambda file, data: 0):
            self.assertRaises(OSError, self.journal.settled, 1499)
        self.assertEqual(self.read()[0], acceptance(1))
        self.journal.told(1)
        self.journal.settled(1501)
        self.assertEqual(self.read(), [])

    def test_left_behind_tells_children_apart(self) -> None:
        other = Journal(self.directory / "00000005-11")
        self.addCleanup(other.close)
        self.assertEqual(len(left_behind(self.directory, "00000005-1")), 2)
        self.assertEqual(len(left_behind(self.directory)), 4)

    def test_N12_the_holder_is_seen_from_another_process(self) -> None:
        asked = (
            "import sys; from pathlib import Path; from relay.channel.journal import holder;"
            "print([holder(Path(name)) for name in sys.argv[1:]])"
        )
        files = [str(file) for file in left_behind(self.directory)]
        run = [sys.executable, "-c", asked, *files]
        seen = subprocess.run(run, capture_output=True, text=True, timeout=20, check=True, env=ELSEWHERE)
        self.assertEqual(seen.stdout.strip(), str([os.getpid()] * 2))

    def test_N12_a_holder_that_died_holds_nothing(self) -> None:
        begun = "import sys; from pathlib import Path; from relay.channel.journal import Journal; "
        dies = begun + "j = Journal(Path(sys.argv[1])); print('up', flush=True); sys.stdin.read()"
        path = self.directory / "00000004-1"
        with subprocess.Popen(
            [sys.executable, "-c", dies, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ELSEWHERE,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            self.assertEqual(holder(path.with_suffix(".0")), child.pid)
            child.kill()
            child.wait(10)
        self.assertIsNone(holder(path.with_suffix(".0")))

    def test_a_journal_that_is_gone(self) -> None:
        self.assertRaises(FileNotFoundError, holder, self.directory / "none.0")
