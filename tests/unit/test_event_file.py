"""Files of events: whole lines, on disk, whatever happened before; old ones kept, so many."""

from __future__ import annotations

import errno
import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Sink
from relay.events.file import BEGIN, EventFile, File, NotOurs, maker
from relay.events.shape import shape
from tests.unit.sink_rig import means, numbered

LINE = BEGIN + b'1,"kind":"queued"}\n'


class EventFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()

    def file(self, max_size: int = 0, keep: int = 2) -> EventFile:
        file = EventFile(self.path, max_size, keep)
        self.addCleanup(file.close)
        return file

    def read(self, suffix: str = "") -> bytes:
        with open(self.path + suffix, "rb") as file:
            return file.read()

    def write(self, data: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(data)

    def test_lines_are_appended(self) -> None:
        self.write(LINE)
        file = self.file()
        file.append(LINE)
        file.append(LINE * 2)
        self.assertEqual(self.read(), LINE * 4)

    def test_nobody_else_can_read_it(self) -> None:
        self.file().append(LINE)
        self.assertEqual(os.stat(self.path).st_mode & 0o007, 0)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 3), st.integers(0, len(LINE) - 1), st.integers(0, 5), st.booleans())
    def test_a_torn_line_is_gone(self, whole: int, torn: int, zeros: int, long: bool) -> None:
        line = BEGIN + b"1" * 200_000 + b"}\n" if long else LINE
        half = (line[:-1] if long else line[:torn]) + b"\0" * zeros
        self.write(LINE * whole + half)
        self.file().append(LINE)
        self.assertEqual(self.read(), LINE * (whole + 1))

    def test_somebody_elses_file_is_left_alone(self) -> None:
        for data in (b"hello", LINE + b"no newline here", b"#!/bin/sh\nexit"):
            self.write(data)
            with self.assertRaises(NotOurs):
                self.file().append(LINE)
            self.assertEqual(self.read(), data)

    def test_it_is_turned_before_it_is_too_large(self) -> None:
        file = self.file(len(LINE) * 2, keep=2)
        for number in range(7):
            file.append(LINE.replace(b"1,", b"%d," % number))
        kept = [[json.loads(line)["number"] for line in self.read(suffix).splitlines()] for suffix in ("", ".1", ".2")]
        self.assertEqual(kept, [[6], [4, 5], [2, 3]])
        self.assertFalse(os.path.exists(self.path + ".3"))

    def test_a_batch_that_is_larger_than_the_file_may_be(self) -> None:
        file = self.file(10)
        file.append(LINE * 3)
        file.append(LINE)
        self.assertEqual((self.read(), self.read(".1")), (LINE, LINE * 3))

    def test_others_turn_it(self) -> None:
        """As logrotate does: by renaming it, or by copying and truncating it."""
        file = self.file()
        file.append(LINE)
        os.rename(self.path, self.path + ".old")
        file.append(LINE * 2)
        self.assertEqual((self.read(), self.read(".old")), (LINE * 2, LINE))
        os.truncate(self.path, 0)
        file.append(LINE)
        self.assertEqual(self.read(), LINE)

    def test_a_full_disk(self) -> None:
        """What of a batch fitted is gone again."""
        file = self.file()
        file.append(LINE)
        real = os.write

        def full(descriptor: int, data: bytes) -> int:
            if len(data) < 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data[: len(data) - 5])

        self.patch(os, "write", full)
        with self.assertRaises(OSError):
            file.append(LINE * 2)
        self.patch(os, "write", real)
        self.assertEqual(self.read(), LINE)
        file.append(LINE * 2)
        self.assertEqual(self.read(), LINE * 3)

    def test_on_disk_before_it_counts(self) -> None:
        synced: list[int] = []
        self.patch(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        self.file().append(LINE)
        self.assertEqual(synced[-1], len(LINE))

    def test_no_way_through_a_link(self) -> None:
        target = self.mktemp()
        os.symlink(target, self.path)
        with self.assertRaises(OSError):
            self.file().append(LINE)
        self.assertFalse(os.path.exists(target))


class FileTests(SynchronousTestCase):
    def test_a_line_for_each(self) -> None:
        path = self.mktemp()
        file = maker("log", Sink(kind="file", path=path), means(Clock()))
        events = [numbered(1, "queued", seq=0, to=("a@to.test",)), numbered(2, reply="250 \u2713")]
        self.successResultOf(file.take(events))
        file.stop()
        with open(path, "rb") as stream:
            self.assertEqual([json.loads(line) for line in stream], [shape(one) for one in events])
            stream.seek(0)
            self.assertTrue(all(line.startswith(BEGIN) for line in stream))

    def test_one_after_the_other(self) -> None:
        """As when events are handed on again while new ones come."""
        begun: list[bytes] = []
        threads: list[Deferred[None]] = []
        closed: list[None] = []

        def in_thread(append: object, lines: bytes) -> Deferred[None]:
            begun.append(lines)
            threads.append(Deferred())
            return threads[-1]

        class Closing(EventFile):
            def close(self) -> None:
                closed.append(None)

        file = File(Closing("x", 0, 1), "x", in_thread)
        first, second = file.take([numbered(1)]), file.take([numbered(2)])
        self.assertEqual(len(begun), 1)
        file.stop()
        threads[0].errback(OSError("the disk is full"))
        self.failureResultOf(first, OSError)
        self.assertEqual((len(begun), closed), (2, []))
        threads[1].callback(None)
        self.assertEqual(self.successResultOf(second), 0)
        self.assertEqual(closed, [None])

    def test_a_stop_leaves_the_thread_its_file(self) -> None:
        closed: list[None] = []

        class Slow(EventFile):
            def close(self) -> None:
                closed.append(None)

        done: Deferred[None] = Deferred()
        file = File(Slow("x", 0, 1), "x", lambda *args: done)
        taking = file.take([numbered(1)])
        taking.addErrback(lambda failure: None)
        taking.cancel()
        file.stop()
        self.assertEqual(closed, [])
        done.callback(None)
        self.assertEqual(closed, [None])
