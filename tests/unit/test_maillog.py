"""The mail log: one record is one line, cut to a bound, and mail never waits for it (L01 – L03)."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.logs import maillog
from relay.logs.maillog import MailLog
from tests.unit.journey_rig import a_clock, milliseconds

_LINE = re.compile(r'\S+Z \S+ id=\S+((?: \w+=(?:"(?:[^"\\]|\\.)*"|[^\s"=]+))*)')


def a_log(file: io.BytesIO | None) -> tuple[MailLog, Clock]:
    clock = a_clock()
    return MailLog(clock, milliseconds(clock), file), clock


class Lines(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = io.BytesIO()
        self.log, self.clock = a_log(self.file)

    def text(self) -> str:
        self.log.flush()
        return self.file.getvalue().decode()

    def test_a_line(self) -> None:
        self.log.write("queued", "abc", sender="<a@b.test>", size=5, took="0.001", reply="250 ok", user="")
        self.assertEqual(
            self.text(),
            '2023-11-14T22:13:20.000Z queued id=abc sender=<a@b.test> size=5 took=0.001 reply="250 ok"\n',
        )

    def test_the_time_goes_on(self) -> None:
        self.log.write("a", "x")
        self.clock.advance(1.234)
        self.log.write("b", "x")
        self.assertIn("22:13:21.234Z b", self.text())

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.text(), max_size=3))
    def test_L01_any_value_stays_within_its_line_and_can_be_read_back(self, values: list[str]) -> None:
        file = io.BytesIO()
        log, _ = a_log(file)
        log.write("delivered", "id", **{f"f{n}": value for n, value in enumerate(values)})
        log.flush()
        text = file.getvalue().decode("ascii")
        self.assertEqual(text.count("\n"), 1)
        self.assertTrue(text[:-1].isprintable())
        self.assertTrue(_LINE.fullmatch(text[:-1]), text)
        for n, value in enumerate(values):
            found = re.search(rf' f{n}=("(?:[^"\\]|\\.)*"|\S+)', text)
            if not value:
                self.assertIsNone(found)
                continue
            assert found is not None
            said = json.loads(found[1]) if found[1].startswith('"') else found[1]
            self.assertEqual(said, value if len(value) <= maillog._LONGEST else said)

    def test_L01_what_forges_lines_and_terminals(self) -> None:
        for bad in "\r\n\x1b\0\u2028\u2029\x7f\x85\x9b\t\ud800":
            self.log.write("queued", "id", value=f"a{bad}b")
        self.assertTrue(self.text().replace("\n", "").isprintable())
        self.assertTrue(self.text().isascii())
        self.assertEqual(self.text().count("\n"), 11)

    def test_L02_a_megabyte_is_cut_with_a_mark(self) -> None:
        self.log.write("deferred", "id", reply="x" * 1_000_000, other="\0" * 1_000_000)
        self.assertLess(len(self.text()), 10_000)
        self.assertEqual(self.text().count("[cut]"), 2)

    def test_lines_are_written_soon_or_when_there_are_many(self) -> None:
        self.log.write("a", "x")
        self.assertEqual(self.file.getvalue(), b"")
        self.clock.advance(maillog._FLUSH_AFTER)
        self.assertEqual(self.file.getvalue().count(b"\n"), 1)
        for _ in range(2000):
            self.log.write("a", "x", value="y" * 50)
        self.assertGreater(self.file.getvalue().count(b"\n"), 500)
        self.assertLess(sum(map(len, self.log._lines)), 2 * maillog._FULL)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 1)


class Trouble(SynchronousTestCase):
    """L03: the log's trouble is not the mail's."""

    def test_L03_no_log_at_all(self) -> None:
        log, _ = a_log(None)
        log.write("a", "x")
        log.flush()
        self.assertEqual(log.lost, 1)

    def test_L03_a_full_disk(self) -> None:
        log, _ = a_log(None)
        log.open("/dev/full", Path("unused"))
        for _ in range(3):
            log.write("a", "x")
        log.flush()
        self.assertEqual(log.lost, 3)

    def test_L03_a_disk_that_fills_up_in_the_middle_of_a_line(self) -> None:
        class Filling(io.BytesIO):
            room = 50

            def write(self, data: bytes) -> int:  # type: ignore[override]
                data = data[: self.room]
                self.room -= len(data)
                if not data:
                    raise OSError(28, "No space left on device")
                return super().write(data)

        file = Filling()
        log, _ = a_log(file)
        for number in range(3):
            log.write("a", f"x{number}")
        log.flush()
        self.assertEqual(log.lost, 2)
        file.room = 1000
        log.write("b", "y")
        log.flush()
        lines = file.getvalue().decode().splitlines()
        self.assertTrue(lines[0].endswith("a id=x0"))
        self.assertTrue(lines[-1].endswith("Z b id=y"))
        self.assertTrue(_LINE.fullmatch(lines[-1]))
        self.assertEqual((len(lines), log.lost), (3, 2))

    def test_L03_a_reader_that_stopped(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        with open(writing, "wb", buffering=0) as file:
            log, _ = a_log(file)  # type: ignore[arg-type]
            began = time.monotonic()
            for number in range(5000):
                log.write("delivered", f"x{number}", reply="250 ok " + "z" * 80)
            log.flush()
            self.assertLess(time.monotonic() - began, 5)
            self.assertTrue(2000 < log.lost < 5000, log.lost)
            held = b""
            while len(held) < 60_000:
                held += os.read(reading, 65536)
            log.write("delivered", "last")
            log.flush()
            self.assertTrue(os.read(reading, 65536).endswith(b"\n"))
            self.assertGreaterEqual(held.count(b"\n") + log.lost, 4999)

    def test_L03_a_reader_that_is_gone(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "wb", buffering=0) as file:
            log, _ = a_log(file)  # type: ignore[arg-type]
            log.write("a", "x")
            log.flush()
            self.assertEqual(log.lost, 1)

    def test_a_file_is_appended_to(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"before\n")
        log, _ = a_log(None)
        log.open(str(path), Path("unused"))
        log.write("a", "x")
        log.flush()
        self.assertEqual(path.read_bytes().count(b"\n"), 2)
        self.assertRaises(OSError, log.open, str(path / "none"), Path("unused"))
