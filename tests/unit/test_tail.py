"""The ends of LevelDB's logs: what a power cut leaves is cut, what was damaged is told."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import plyvel
from twisted.trial.unittest import SynchronousTestCase

from relay.queue.manifest import read_manifest
from relay.queue.tail import judge, records


class RealLog(SynchronousTestCase):
    """A log as LevelDB writes it: small records and some of several blocks."""

    SIZES = (10, 100, 40_000, 100, 32_700, 5, 70_000, 10, 10)

    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.path)
        chance = random.Random(3)
        db = plyvel.DB(str(self.path / "db"), create_if_missing=True)
        self.ends = [0]
        (self.log,) = (self.path / "db").glob("*.log")
        for number, size in enumerate(self.SIZES):
            with db.write_batch(sync=True) as batch:
                batch.put(b"%d" % number, chance.randbytes(size))
                batch.put(b"same", b"x")
            self.ends.append(self.log.stat().st_size)
        db.close()
        self.good = self.log.read_bytes()
        self.assertEqual(len(self.good), self.ends[-1])

    def judged(self, data: bytes) -> tuple[int, bool]:
        self.log.write_bytes(data)
        tail = judge(self.log, batches=True)
        self.assertEqual(tail.size, len(data))
        return tail.end, tail.damage is not None

    def test_a_whole_log(self) -> None:
        self.assertEqual(self.judged(self.good), (self.ends[-1], False))
        tail = judge(self.log, batches=True)
        self.assertEqual((tail.first, tail.following), (1, 1 + 2 * len(self.SIZES)))
        self.assertEqual(len(list(records(self.log))), len(self.SIZES))

    def test_an_empty_log(self) -> None:
        self.assertEqual(self.judged(b""), (0, False))

    def test_torn_anywhere(self) -> None:
        """Q01 torn: the file ends within any record."""
        chance = random.Random(4)
        places = set(range(300)) | {end + n for end in self.ends for n in (-8, -1, 0, 1, 6, 7, 8, 20)}
        places |= {chance.randrange(len(self.good)) for _ in range(100)}
        for place in sorted(p for p in places if 0 <= p <= len(self.good)):
            whole = max(end for end in self.ends if end <= place)
            self.assertEqual(self.judged(self.good[:place]), (whole, False), place)

    def test_zeros_or_garbage_behind_the_last_synced_record(self) -> None:
        """Q01 zero, garbage: from anywhere within the last record to anywhere."""
        chance = random.Random(5)
        for keep in range(1, len(self.ends)):
            whole = self.ends[keep - 1]
            for _ in range(6):
                start = chance.randrange(whole, self.ends[keep])
                length = chance.choice((1, 7, 100, 5000, 80_000))
                for fill in (bytes(length), b"\xff" * length, chance.randbytes(length)):
                    self.assertEqual(self.judged(self.good[:start] + fill), (whole, False))

    def test_pages_of_the_last_record_missing(self) -> None:
        """Q01 mixed: a later page of the record that was being written is there, an earlier
        one isn't. Its valid fragments are no beginning of another."""
        whole, end = self.ends[6], self.ends[7]
        for page in range(whole - whole % 4096, end, 4096):
            start, stop = max(page, whole), min(page + 4096, end)
            data = self.good[:start] + bytes(stop - start) + self.good[stop:end]
            self.assertEqual(self.judged(data), (whole, False))

    def test_damage_before_a_later_record_is_told(self) -> None:
        """Q08: a flipped bit, a zeroed or garbled stretch in what was once synced."""
        chance = random.Random(6)
        last = self.ends[-2]
        for _ in range(300):
            place = chance.randrange(last)
            damaged = bytearray(self.good)
            damaged[place] ^= 1 << chance.randrange(8)
            end, damage = self.judged(bytes(damaged))
            harmless = bytes(damaged) != self.good and end == len(self.good)
            if harmless:  # the unused bytes at the end of a block
                self.assertEqual(len(list(records(self.log))), len(self.SIZES))
            else:
                self.assertTrue(damage, place)
        for length in (1, 30, 512):
            for fill in (bytes(length), chance.randbytes(length)):
                for end in self.ends[:-3]:
                    data = self.good[:end] + fill + self.good[end + length :]
                    self.assertTrue(self.judged(data)[1])

    def test_every_bit_of_every_header_but_the_last(self) -> None:
        """Q08: also where the length itself is wrong."""
        for end in self.ends[:-2]:
            for bit in range(7 * 8):
                damaged = bytearray(self.good)
                damaged[end + bit // 8] ^= 1 << bit % 8
                self.assertTrue(self.judged(bytes(damaged))[1], (end, bit))

    def test_a_missing_stretch_is_told(self) -> None:
        """Records are numbered without a gap."""
        data = self.good[: self.ends[1]] + self.good[self.ends[2] :]
        self.assertTrue(self.judged(data)[1])

    def test_a_log_within_a_mail_is_no_record(self) -> None:
        """A torn record whose body looks like a log doesn't make the queue refuse to open."""
        db = plyvel.DB(str(self.path / "other"), create_if_missing=True)
        with db.write_batch(sync=True) as batch:
            batch.put(b"mail", b"padding" + self.good[: self.ends[2]] * 3)
        db.close()
        (log,) = (self.path / "other").glob("*.log")
        data = log.read_bytes()[:-1]
        both = self.good + data.replace(data[:4], b"\0\0\0\0", 1)
        self.assertEqual(self.judged(both), (self.ends[-1], False))

    def test_what_leveldb_opens_after_the_cut(self) -> None:
        """The cut log is whole for LevelDB's paranoid checks, too."""
        data = self.good[: self.ends[5]] + b"\x55" * 4000
        end, _ = self.judged(data)
        self.log.write_bytes(data[:end])
        db = plyvel.DB(str(self.path / "db"), paranoid_checks=True)
        self.assertEqual(len(list(db.iterator())), 6)
        db.close()


class ManifestTests(SynchronousTestCase):
    def test_a_real_manifest(self) -> None:
        path = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, path)
        db = plyvel.DB(str(path), create_if_missing=True, write_buffer_size=65536, max_file_size=1 << 20)
        for number in range(3000):
            db.put(b"%d" % (number % 500), bytes(500))
        db.compact_range()
        db.close()
        name = (path / "CURRENT").read_text().strip()
        manifest = read_manifest(records(path / name))
        tables = {int(file.stem): file.stat().st_size for file in path.glob("*.ldb")}
        # A compaction that the closing broke off may leave a table that no manifest knows.
        self.assertEqual(manifest.tables, {number: tables.get(number) for number in manifest.tables})
        self.assertTrue(manifest.tables)
        self.assertTrue((path / f"{manifest.log:06d}.log").exists())

    def test_nonsense_is_refused(self) -> None:
        for edit in (b"\x63", b"\x02", b"\x02" + b"\xff" * 10, b"\x01\x7fshort"):
            self.assertRaises(ValueError, read_manifest, [edit])
