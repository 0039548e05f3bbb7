"""Counts of users outlive a restart, and a file that is no such file stops nobody."""

from __future__ import annotations

import stat
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.access.keep import Keep
from relay.access.quota import Quotas
from relay.access.refused import Refused
from relay.message.user import User

USER = User("alice", messages=((2, 3600.0),))


class KeepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()

    def begun(self) -> tuple[Quotas, Keep]:
        quotas = Quotas([], [])
        keep = Keep(quotas, self.path, self.clock, lambda: int(self.clock.seconds() * 1000))
        keep.start()
        return quotas, keep

    def test_over_a_restart(self) -> None:
        quotas, keep = self.begun()
        quotas.charge(USER, 1, 0.0)
        quotas.charge(USER, 1, 0.0)
        keep.stop()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertRaises(Refused, self.begun()[0].charge, USER, 1, 1.0)

    def test_over_a_crash(self) -> None:
        quotas, _ = self.begun()
        quotas.charge(USER, 1, 0.0)
        self.assertFalse(self.path.exists())
        self.clock.advance(30)
        quotas.charge(USER, 1, 30.0)
        self.clock.advance(30)
        self.assertRaises(Refused, self.begun()[0].charge, USER, 1, 61.0)

    def test_whatever_the_file_holds(self) -> None:
        for held in (b"", b"{", b"[]", b"[[1]]", b'[["alice","messages",-1,3600.0,[[0,1]]]]', b"\xff" * 100, b"null"):
            self.path.write_bytes(held)
            quotas, keep = self.begun()
            quotas.charge(USER, 1, 0.0)
            keep.stop()

    def test_a_folder_that_cannot_be_written(self) -> None:
        """The relay goes on without."""
        self.path = self.path / "none" / "quota.json"
        quotas, keep = self.begun()
        quotas.charge(USER, 1, 0.0)
        keep.stop()
        self.assertFalse(self.path.exists())
