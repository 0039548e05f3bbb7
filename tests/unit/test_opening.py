"""What the queue is opened over, and what it refuses: never a silent loss."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import google_crc32c
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Queue
from relay.queue import keys
from relay.queue.engine import LevelDb
from relay.queue.level import LevelStore
from relay.queue.records import Format, encode
from relay.queue.store import LaneKey, QueueUnusable, StoreError, Unreadable, ZoneCount
from tests.unit.store_rig import HandReactor, HandWorker, delivery, message, queue_id, settle

NOW = 1_700_000_000_000
FIXTURE = Path(__file__).parent.parent / "fixtures" / "queue-v1.tar.gz"


class Opening(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.path = self.base / "queue"
        self.db = self.path / "db"

    def open(self, path: Path | None = None, **options: Any) -> LevelStore:
        self.reactor, self.worker = HandReactor(), HandWorker()
        store = LevelStore(str(path or self.path), Queue(), self.reactor, worker=self.worker, **options)  # type: ignore
        store.open()
        settle(self.reactor, self.worker)
        return store

    def close(self, store: LevelStore) -> None:
        closed = store.close()
        settle(self.reactor, self.worker)
        self.successResultOf(closed)

    def done(self, deferred: Deferred[Any]) -> None:
        settle(self.reactor, self.worker)
        self.successResultOf(deferred)

    def fill(self, first: int, last: int, size: int = 100) -> None:
        """Messages, each in a synced group of its own, then a clean end."""
        store = self.open()
        for number in range(first, last + 1):
            self.done(store.append(message(number), [delivery(number)], bytes([number % 256]) * size))
        self.close(store)

    def numbers(self, store: LevelStore) -> list[int]:
        """Which messages are whole; Unreadable if one can't be read."""
        found = []
        for place in store.scan(LaneKey("default", "example.org"), None, NOW, 100_000).places:
            self.assertIsNotNone(store.message(place.id))
            store.chunk(place.id, 0)
            found.append(int(place.id, 16))
        return found

    def assertRefused(self, *words: str, path: Path | None = None) -> None:
        error = self.assertRaises(QueueUnusable, self.open, path)
        self.assertNotIn("\n", str(error))
        for word in words:
            self.assertIn(word, str(error))

    def newest(self, pattern: str) -> Path:
        return max(self.db.glob(pattern))


class DirectoryTests(Opening):
    def test_a_queue_is_made_for_its_owner_alone(self) -> None:
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        store = self.open()
        for directory in (self.path, self.db, self.path / "journal"):
            self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.path / "lock").stat().st_mode & 0o777, 0o600)
        self.close(store)

    def test_directories_open_to_others_are_closed(self) -> None:
        self.path.mkdir(mode=0o755)
        self.close(self.open())
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o700)

    def test_unusable_directories_are_refused(self) -> None:
        """Q07."""
        self.path.mkdir()
        self.path.chmod(0)
        self.assertRefused("not writable")
        self.path.chmod(0o500)
        self.assertRefused("not writable")
        self.path.rmdir()
        self.path.symlink_to(self.base)
        self.assertRefused("not a directory")
        self.path.unlink()
        self.path.write_text("")
        self.assertRefused("not a directory")
        self.assertRefused("can't be used", path=self.path / "below" / "a file")

    def test_another_owner_is_refused(self) -> None:
        """Q07."""
        self.path.mkdir()
        mine = os.geteuid()
        self.patch(os, "geteuid", lambda: mine + 1)
        self.assertRefused("belongs to user")

    def test_a_second_master_is_refused(self) -> None:
        """N15: in this process and in another, and the first goes on unharmed."""
        store = self.open()
        reactor, worker = self.reactor, self.worker
        self.assertRefused("held by another master", f"pid {os.getpid()}")
        script = (
            "import sys; from relay.queue.opening import Lock; from pathlib import Path\n"
            "try: Lock(Path(sys.argv[1]))\n"
            "except Exception as error: print(error)"
        )
        command = [sys.executable, "-c", script, str(self.path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20).stdout
        self.assertIn(f"held by another master (pid {os.getpid()})", told)
        self.reactor, self.worker = reactor, worker
        self.done(store.append(message(1), [delivery(1)], b"body"))
        self.close(store)
        self.close(self.open())

    def test_a_lock_file_left_behind_is_no_lock(self) -> None:
        """N20: whatever process has that pid now."""
        self.path.mkdir()
        (self.path / "lock").write_text("1\n")
        self.close(self.open())


class BirthTests(Opening):
    def test_a_queue_whose_first_start_was_broken_off(self) -> None:
        """N14: LevelDB's own steps on the way to an empty database, each as a kill leaves it."""
        name = b"leveldb.BytewiseComparator"
        edit = b"\x01%c%b\x02\x00\x03\x02\x04\x00" % (len(name), name)  # log 0, next file 2, sequence 0
        crc = google_crc32c.value(b"\x01" + edit)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        manifest = struct.pack("<IHB", masked, len(edit), 1) + edit
        for files in (
            {"MANIFEST-000001": b""},
            {"MANIFEST-000001": manifest},
            {"MANIFEST-000001": manifest, "000001.dbtmp": b"MANIFEST-000001\n"},
            {"MANIFEST-000001": manifest, "CURRENT": b"MANIFEST-000001\n"},
            {"MANIFEST-000001": manifest, "CURRENT": b"MANIFEST-000001\n", "000003.log": b""},
        ):
            shutil.rmtree(self.path, ignore_errors=True)
            self.db.mkdir(parents=True, mode=0o700)
            for file, content in files.items():
                (self.db / file).write_bytes(content)
            self.fill(1, 3)
            store = self.open()
            self.assertEqual(self.numbers(store), [1, 2, 3])
            self.close(store)


class DamageTests(Opening):
    def test_a_lost_current_file_is_refused(self) -> None:
        """Q09: LevelDB would make an empty queue of it."""
        self.fill(1, 5)
        before = sorted(os.listdir(self.db))
        (self.db / "CURRENT").rename(self.base / "CURRENT")
        self.assertRefused("no CURRENT", "not empty")
        self.assertEqual(sorted([*os.listdir(self.db), "CURRENT"]), before)
        (self.base / "CURRENT").rename(self.db / "CURRENT")
        self.assertEqual(self.numbers(self.open()), [1, 2, 3, 4, 5])

    def test_a_damaged_current_file_is_refused(self) -> None:
        """Q09."""
        self.fill(1, 5)
        for content in (b"", b"\n", b"MANIFEST-000002", b"MANIFEST-\n", b"\xff\xfe\n", b"../x\n"):
            (self.db / "CURRENT").write_bytes(content)
            self.assertRefused("damaged CURRENT")

    def test_a_lost_write_log_is_refused(self) -> None:
        """Q09: LevelDB would open without a word, and without its mail."""
        self.fill(1, 5)
        self.newest("*.log").unlink()
        self.assertRefused("lost its write log")

    def test_a_lost_manifest_or_table_is_refused(self) -> None:
        """Q10."""
        self.fill(1, 5)
        self.fill(6, 9)
        self.newest("*.ldb").rename(self.base / "table")
        self.assertRefused("lost table")
        (self.base / "table").rename(self.db / self.newest("*.log").with_suffix(".ldb"))
        self.newest("MANIFEST-*").unlink()
        self.assertRefused("lost its MANIFEST")

    def test_a_shortened_table_is_refused(self) -> None:
        """Q08."""
        self.fill(1, 5)
        self.fill(6, 9)
        table = self.newest("*.ldb")
        os.truncate(table, table.stat().st_size - 1)
        self.assertRefused("wrong length")

    def test_a_creation_broken_off_is_begun_anew(self) -> None:
        self.db.mkdir(parents=True)
        for name in ("LOCK", "LOG", "MANIFEST-000001"):
            (self.db / name).write_bytes(b"\0\0\0")
        self.close(self.open())

    def test_a_foreign_database_is_refused(self) -> None:
        self.db.mkdir(parents=True)
        engine = LevelDb(self.db, True)
        batch = engine.batch()
        batch.put(b"key", b"value")
        engine.write(batch)
        engine.close()
        self.assertRefused("no format record")

    def test_the_unsynced_end_of_the_log_is_cut(self) -> None:
        """Q01: zeros, garbage and torn records are what a power cut leaves."""
        chance = random.Random(1)
        self.fill(1, 5)
        for number, fill in enumerate((bytes(5000), chance.randbytes(5000), b"\xff" * 9, bytes(3))):
            with self.newest("*.log").open("ab") as log:
                log.write(fill)
            with self.newest("MANIFEST-*").open("ab") as manifest:
                manifest.write(fill)
            store = self.open()
            self.assertEqual(self.numbers(store), list(range(1, 6 + number)))
            self.done(store.append(message(6 + number), [delivery(6 + number)], b"body"))
            self.close(store)

    def flip(self, file: Path, chance: random.Random) -> None:
        data = bytearray(file.read_bytes())
        bit = chance.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)

    def outcome(self, whole: list[int]) -> str:
        """Open what was damaged: refused, told when read, unharmed, or only the last is gone."""
        try:
            store = self.open()
        except QueueUnusable:
            return "refused"
        try:
            found = self.numbers(store)
            counted = store.count("default", NOW).queued
        except Unreadable:
            return "told"
        finally:
            self.close(store)
        self.assertEqual(counted, len(found))
        if found == whole:
            return "unharmed"
        self.assertEqual(found, whole[: len(found)])
        return f"{len(whole) - len(found)} lost"

    def outcomes(self, pattern: str, tries: int, whole: list[int]) -> dict[str, int]:
        chance = random.Random(8)
        good = self.base / "good"
        shutil.copytree(self.path, good)
        counts: dict[str, int] = {}
        for _ in range(tries):
            shutil.rmtree(self.path)
            shutil.copytree(good, self.path)
            self.flip(chance.choice(sorted(self.db.glob(pattern))), chance)
            outcome = self.outcome(whole)
            counts[outcome] = counts.get(outcome, 0) + 1
        return counts

    def test_a_flipped_bit_in_the_log(self) -> None:
        """Q08: refused; but the very last record can't be told from one a power cut tore."""
        self.fill(1, 40)
        counts = self.outcomes("*.log", 60, list(range(1, 41)))
        self.assertEqual(set(counts) - {"refused", "1 lost"}, set())
        self.assertGreater(counts["refused"], 50)

    def test_a_flipped_bit_in_a_table(self) -> None:
        """Q08: refused, or told when that part is read; never another mail, never fewer."""
        self.fill(1, 40)
        self.close(self.open())
        counts = self.outcomes("*.ldb", 60, list(range(1, 41)))
        self.assertEqual(set(counts) - {"refused", "told", "unharmed"}, set())
        self.assertGreater(counts["refused"] + counts["told"], 30)

    def test_a_flipped_bit_in_the_manifest(self) -> None:
        """Q08."""
        self.fill(1, 10)
        self.fill(11, 20)
        self.close(self.open())
        counts = self.outcomes("MANIFEST-*", 60, list(range(1, 21)))
        self.assertEqual(set(counts) - {"refused", "unharmed"}, set())
        self.assertGreater(counts["refused"], 30)

    def test_a_copy_of_a_live_queue_opens_or_is_refused(self) -> None:
        """Q19: what it opens with is whole, and all that was there when the copying began."""
        store = self.open()
        for number in range(1, 200):
            store.append(message(number), [delivery(number)], bytes(5000))
            settle(self.reactor, self.worker)
        live = (self.reactor, self.worker)
        copy = self.base / "copy"
        shutil.copytree(self.path, copy)
        try:
            copied = self.open(copy)
        except QueueUnusable:
            pass
        else:
            self.assertEqual(self.numbers(copied), list(range(1, 200)))
            self.close(copied)
        self.reactor, self.worker = live
        self.close(store)


class FormatTests(Opening):
    def test_a_newer_format_is_refused(self) -> None:
        """Q20."""
        store = self.open()
        batch = store._engine.batch()
        batch.put(keys.FORMAT, encode(Format(3)))
        store._engine.write(batch)
        self.close(store)
        self.assertRefused("format 3")

    def test_damaged_counters_are_refused(self) -> None:
        self.fill(1, 3)
        store = self.open()
        batch = store._engine.batch()
        batch.put(keys.counter("default", NOW // 1000), b"\1\0\0\0\0\3")
        store._engine.write(batch)
        self.close(store)
        self.assertRefused("checksum", "repair")

    def test_the_queue_of_format_1_opens(self) -> None:
        """Q20: the fixture was made by the first program that wrote this format."""
        with tarfile.open(FIXTURE) as archive:
            archive.extractall(self.path, filter="data")
        store = self.open()
        self.assertEqual(store.message(queue_id(1)), message(1))
        self.assertEqual(store.recipients(queue_id(4)), [f"r{seq}@example.org" for seq in (1, 2, 3)])
        self.assertEqual([row.seq for row in store.deliveries(queue_id(4), 0, 9)], [1, 3])
        self.assertEqual([store.chunk(queue_id(5), number) for number in (0, 1)], [b"0000", b"1111"])
        self.assertEqual(store.query("reason", "dns", "", 9), [f"{queue_id(2)}.001"])
        self.assertEqual(store.query("sender", "a@example.com", "", 9), [f"{queue_id(2)}.001"])
        self.assertEqual([row.held for row in store.held("", 9)], ["operator"])
        self.assertEqual(store.count("default", NOW), ZoneCount(3, 1, 1))
        self.assertEqual(store.zones(), ["default", "other"])
        self.assertEqual(store.newest, queue_id(6))
        self.assertRaises(Unreadable, store.chunk, queue_id(6), 0)
        for seq in (1, 3):
            self.done(store.finish(message(4, recipients=3), delivery(4, seq)))
        self.assertIsNone(store.message(queue_id(4)))
        self.close(store)


class ReopeningTests(Opening):
    """The real database through write errors."""

    def test_a_write_error_with_the_record_in_the_log(self) -> None:
        """Q06."""
        faults = [False]

        class Faulty(LevelDb):
            def write(self, batch: Any) -> None:
                super().write(batch)
                if faults[0]:
                    faults[0] = False
                    raise OSError(5, "Input/output error")

        store = self.open(opened=Faulty)
        self.done(store.append(message(1), [delivery(1)], b"body"))
        faults[0] = True
        refused = store.append(message(2), [delivery(2)], b"body")
        finished = store.finish(message(1), delivery(1))
        self.reactor.advance(0)
        self.worker.run_one()
        self.assertFalse(store.writable())
        self.assertRaises(StoreError, store.message, queue_id(1))
        settle(self.reactor, self.worker)
        self.failureResultOf(refused, StoreError)
        self.successResultOf(finished)
        self.assertTrue(store.writable() and store.accepting())
        self.assertEqual(self.numbers(store), [])
        self.done(store.append(message(3), [delivery(3)], b"body"))
        self.close(store)
        store = self.open()
        self.assertEqual(self.numbers(store), [3])
        self.assertEqual(store.count("default", NOW), ZoneCount(1, 0, 0))
        self.close(store)
