"""Disks that are full, read-only, damaged or lying (rows Q03-Q05, Q07-Q10, Q19, Q24, N14).

Faults at a system call need strace, those of a file system need root; without them a test is skipped,
and says what therefore was not tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from bench.network import greets
from bench.peers import REPOSITORY
from tests.audit.experiments import powercut_library
from tests.scenario.harness import (
    EACH_SECOND,
    Load,
    Relay,
    Scenario,
    deferToThread,
    needs,
    needs_root,
    post,
    strace,
)

LATER = "greylist+{id}@evil.test"


class Deleted(Scenario):
    """What an operator did is on disk when the answer says so."""

    timeout = 120

    async def test_Q24_deleted_then_the_power_is_cut(self) -> None:
        """Q24: what was answered as deleted stays deleted; the rest is whole, and no record is half."""
        needs("cc", "power cuts")
        relay, log = self.relay(retry='["600s"]'), f"{self.directory}/synced.log"
        library = powercut_library(self.directory)
        await self.up(relay, LD_PRELOAD=library, POWERCUT_DIR=relay.queue, POWERCUT_LOG=log)
        await self.send(relay, 40, "greylist-9+{id}@evil.test", sessions=4)
        await self.until(lambda: len(self.deferred(relay)) == 40, 20, "40 deferrals", relay)
        names = sorted(self.deferred(relay))
        for name in names[::2]:
            status, _ = await deferToThread(post, relay.api, f"/message/{name}/", method="DELETE")
            self.assertEqual(status, 200)
        relay.kill()
        cut = [sys.executable, "-m", "tests.audit.powercut", relay.queue, "--log", log, "--mode", "lose"]
        subprocess.run(cut, check=True, capture_output=True, cwd=REPOSITORY)
        await self.up(relay)
        self.assertEqual(sorted(self.deferred(relay)), names[1::2])
        for name in names:
            status, body = await deferToThread(post, relay.api, f"/fetch/{name}", method="GET")
            self.assertEqual(status, 200 if name in names[1::2] else 404, body[:200])
        status, body = await deferToThread(post, relay.api, "/counter/zone/default", method="GET")
        self.assertEqual(json.loads(body)["deferred"]["entries"], [{"key": "default", "value": 20}], body)

    def deferred(self, relay: Relay) -> list[str]:
        """The ids of what waits."""
        _, body = post(relay.api, "/queued/deferred/default", method="GET")
        return [item["id"] for item in json.loads(body)["list"]]


class KilledAtSync(Scenario):
    """N14: kill -9 at the Nth fdatasync of a thread, one after the other on the same queue."""

    timeout = 3600
    points: Sequence[int] = (1, 2, 3, 5, 8, 13, 40)

    async def test_N14_killed_at_each_sync(self) -> None:
        """N14: 0 lost whichever sync it dies in; the queue opens each time."""
        relay = self.relay()
        self.mx.start()
        load = self.load(relay, sessions=4, pause=0.002, recipients=["ok+{id}@evil.test", LATER])
        for point in self.points:
            trace = f"{self.directory}/trace-{point}"
            # No --seccomp-bpf: with it strace 6.1 injects no signals.
            kill_at = f"inject=fdatasync:signal=KILL:when={point}"
            relay.start(strace("-e", "trace=fdatasync", "-e", kill_at, output=trace))
            await self.until(lambda t=trace: "KILL" in read(t), 60, f"death at sync {point}", relay)
            await deferToThread(relay.kill)
        await self.up(relay)
        await self.more(load, 20, relay)
        await self.stop(load)
        verdict = await self.drained(relay, load)
        print(f"N14: {len(self.points)} points, {verdict.accepted} accepted, {len(verdict.duplicates)} twice")
        self.assert_safe(verdict, relay, duplicates=20 * len(self.points))


class FileSystems(Scenario):
    """A file system of its own below the queue."""

    def mount(self, *arguments: str) -> str:
        """Mount something for the queue to lie on; it is unmounted when the test ends."""
        needs_root("a full or read-only file system")
        point = f"{self.directory}/disk"
        os.makedirs(point, exist_ok=True)
        done = subprocess.run(["mount", *arguments, point], capture_output=True, text=True)
        if done.returncode:
            self.skipTest(f"mount {' '.join(arguments)}: {done.stderr.strip()}: NOT TESTED")
        return point

    async def unmount(self, point: str) -> None:
        await self.until(
            lambda: (
                subprocess.run(["umount", point], capture_output=True).returncode == 0
                or not os.path.ismount(point)
            ),
            20,
            "unmount",
        )

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(
            lambda: subprocess.run(["umount", "-l", f"{self.directory}/disk"], capture_output=True)
        )

    async def test_Q03_full_disk(self) -> None:
        """Q03: 452 4.3.1 and 507 while the disk is full; accepts again by itself; nothing lost."""
        await self._fill("6m", 20_000)

    async def test_Q04_full_disk_in_a_compaction(self) -> None:
        """Q04: the same on a disk that holds several write buffers: tables are being written and
        merged when it is full."""
        await self._fill("40m", 50_000)
        tables = [name for name in os.listdir(f"{self.directory}/disk/queue/db") if name.endswith(".ldb")]
        self.assertTrue(tables, "no table was ever written: nothing was compacted")

    async def _fill(self, size: str, message: int) -> None:
        """A disk of this size, with messages of so many bytes."""
        point = self.mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
        relay = self.relay(queue=f"{point}/queue", retry='["3s"]\nretry_repeat_last = true')
        await self.up(relay)
        master = relay.master()
        self.mx.stop()  # nothing may leave while it fills
        load = Load(relay.smtp, size=message)
        load.start(4)
        self.addCleanup(load.stop)
        await self.until(lambda: load.replies, 60, "a full disk", relay)
        await self.until(lambda: load.replies.total() > 20, 30, "more refusals", relay)
        self.assertTrue(all(reply.startswith("452 4.3.1") for reply in load.replies), load.replies)
        mail = b"From: a@src.test\r\nTo: ok+http@evil.test\r\nSubject: x\r\n\r\n" + b"x" * 20_000 + b"\r\n"
        status, _ = await deferToThread(
            post, relay.api, "/send-raw", mail, "POST", {"Content-Type": "message/rfc822"}
        )
        self.assertEqual(status, 507)
        seen = len(load.accepted())
        subprocess.run(["mount", "-o", "remount,size=200m", point], check=True)
        took = await self.until(
            lambda: len(load.accepted()) > seen + 20, 30, "service after space came back", relay
        )
        await self.stop(load)
        self.mx.start()
        self.assertEqual(relay.master(), master)
        self.assertLess(took, 30)
        self.assert_safe(await self.drained(relay, load, seconds=90), relay)

    async def test_Q05_read_only_disk(self) -> None:
        """Q05: the disk turns read-only under load: no 250, no delivery whose outcome can't be kept."""
        needs("mkfs.ext4", "a file system that turns read-only")
        needs_root("a file system that turns read-only")
        image = f"{self.directory}/image"
        with open(image, "wb") as file:
            file.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True, capture_output=True)
        point = self.mount("-o", "loop,errors=remount-ro", image)
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", point], capture_output=True, text=True
        ).stdout.strip()
        trigger = f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error"
        if not os.path.exists(trigger):
            self.skipTest("this kernel can't be told to fail a file system: NOT TESTED")
        relay = self.relay(queue=f"{point}/queue", retry='["2s"]\nretry_repeat_last = true')
        await self.up(relay)
        load = self.load(relay, sessions=4, pause=0.005, recipients=["ok+{id}@evil.test", LATER])
        await self.until(lambda: len(load.accepted()) > 200, 30, "load", relay)
        with open(trigger, "w") as file:
            file.write("test")
        await self.until(lambda: load.replies or not relay.alive, 20, "a refusal", relay)
        await self.remains(lambda: True, 1.0, "")  # what was under way comes to its end
        accepted, arrived = len(load.accepted()), len(self.mx.accepted())
        await self.remains(lambda: len(load.accepted()) == accepted, 5.0, "a 250 on a read-only disk")
        self.assertLessEqual(len(self.mx.accepted()) - arrived, 0, "delivered what could not be struck off")
        self.assertTrue(all(reply.startswith("45") for reply in load.replies), load.replies)
        await self.stop(load)
        await deferToThread(relay.kill)
        await self.unmount(point)
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, point], check=True)
        await self.up(relay)
        # A session's one message may stand in the log whose sync failed: it was told 451, and the relay
        # was killed before a disk could take it back.
        self.assert_safe(await self.drained(relay, load, seconds=90), relay, duplicates=20, ghosts=4)


class Damage(Scenario):
    """A queue that isn't what it was: refused with one clear line, never opened as less than it is."""

    async def filled(self) -> tuple[Relay, Load]:
        """A queue of 100 messages that nobody could take yet, its relay killed."""
        relay = self.relay(retry=EACH_SECOND)
        await self.up(relay)
        self.mx.stop()
        load = await self.send(relay, 100, sessions=4)
        self.assertEqual(len(load.accepted()), 100)
        await deferToThread(relay.kill)
        return relay, load

    async def refuses(self, relay: Relay) -> str:
        """It does not start, ends with a status, and its last line says why."""
        before = len(relay.said())
        relay.start()
        await self.until(lambda: not relay.alive or greets(relay.smtp), 20, "an end", relay)
        said = relay.said()[before:]
        self.assertFalse(relay.alive, f"it started over a damaged queue: {said[-800:]}")
        assert relay.process is not None
        self.assertNotEqual(relay.process.returncode, 0)
        self.assertNotIn("Traceback", said)
        return [line for line in said.splitlines() if line.strip()][-1]

    def files(self, relay: Relay, pattern: str) -> list[str]:
        """Files of the database, oldest first."""
        folder = f"{relay.queue}/db"
        return sorted(f"{folder}/{name}" for name in os.listdir(folder) if re.fullmatch(pattern, name))

    async def test_Q07_unusable_directory(self) -> None:
        """Q07: not ours to read, a symbolic link to nowhere, a file."""
        relay = self.relay()
        if os.geteuid() == 0:
            os.chmod(self.directory, 0o755)
            os.mkdir(relay.queue, 0o700)
            relay.start(
                [
                    needs("setpriv", "a foreign queue directory"),
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                ]
            )
            await self.until(lambda: not relay.alive, 20, "an end", relay)
            assert relay.process is not None
            self.assertNotEqual(relay.process.returncode, 0)
            self.assertIn(relay.queue, relay.said())
            os.rmdir(relay.queue)
        os.symlink("/nowhere/at/all", relay.queue)
        self.assertIn("queue", await self.refuses(relay))
        os.unlink(relay.queue)
        with open(relay.queue, "w") as file:
            file.write("not a directory")
        self.assertIn("queue", await self.refuses(relay))

    async def test_Q08_flipped_bit(self) -> None:
        """Q08: one bit in the log, in the MANIFEST: refused, not less mail."""
        relay, _ = await self.filled()
        for pattern in (r"\d+\.log", r"MANIFEST-\d+"):
            path = max(self.files(relay, pattern), key=os.path.getsize)
            with open(path, "r+b") as file:
                whole = file.read()
                at = len(whole) // 3
                file.seek(at)
                file.write(bytes([whole[at] ^ 4]))
            await self.refuses(relay)
            with open(path, "r+b") as file:
                file.write(whole)

    async def test_Q09_Q10_missing_files(self) -> None:
        """Q09, Q10: CURRENT gone or empty, newest log gone, MANIFEST gone: refused; put back: all there."""
        relay, load = await self.filled()
        current = self.files(relay, "CURRENT")[0]
        log, manifest = self.files(relay, r"\d+\.log")[-1], self.files(relay, r"MANIFEST-\d+")[-1]
        for path in (current, log, manifest):
            shutil.move(path, f"{self.directory}/aside")
            await self.refuses(relay)
            shutil.move(f"{self.directory}/aside", path)
        shutil.copy(current, f"{self.directory}/aside")
        with open(current, "w"):
            pass
        await self.refuses(relay)
        shutil.move(f"{self.directory}/aside", current)
        self.mx.start()
        await self.up(relay)
        self.assert_safe(await self.drained(relay, load), relay)

    async def test_Q19_copy_of_a_live_queue(self) -> None:
        """Q19: a copy taken under load opens with all that was accepted before it, or is refused."""
        relay = self.relay(retry=EACH_SECOND)
        await self.up(relay)
        self.mx.stop()
        early = await self.send(relay, 50, sessions=4)
        load = self.load(relay, sessions=4)
        await self.until(lambda: len(load.accepted()) > 100, 20, "load", relay)
        os.mkdir(f"{self.directory}/copy")
        await deferToThread(
            subprocess.run, ["cp", "-r", relay.queue, f"{self.directory}/copy/queue"], check=True
        )
        await self.stop(load)
        await deferToThread(relay.kill)
        copy = Relay(f"{self.directory}/copy", self.mx.port, retry=EACH_SECOND)
        self.addCleanup(copy.kill)
        copy.start()
        await self.until(lambda: not copy.alive or greets(copy.smtp), 20, "a start or an end", copy)
        if copy.alive:
            self.mx.start()
            self.assert_safe(await self.drained(copy, early), copy)
        else:
            self.assertNotIn("Traceback", copy.said())


def read(path: str) -> str:
    """A trace so far; "" before it is there."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
