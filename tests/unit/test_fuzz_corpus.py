"""Each fuzz target over the inputs that are kept, and a few more made of them; the driver itself."""

from __future__ import annotations

import sys
import zlib
from io import StringIO
from itertools import islice
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.__main__ import shares
from tests.fuzz.corpus import CORPUS, MOST_BYTES, MOST_INPUTS, chosen, inputs, write
from tests.fuzz.mutate import Mutations
from tests.fuzz.run import unguided
from tests.fuzz.targets import TARGETS, Target

#: New inputs for each target.
_MORE = 400


class Corpus(SynchronousTestCase):
    """Rows S01, S07, S11, S13, S45: what a stranger sends is read or refused, and never raises."""

    def test_each_target_has_inputs_and_all_of_them_pass(self) -> None:
        self.assertEqual({path.name for path in CORPUS.iterdir()}, set(TARGETS))
        for name, target in TARGETS.items():
            seeds = inputs(CORPUS / name)
            self.assertTrue(0 < len(seeds) <= MOST_INPUTS and sum(map(len, seeds)) <= MOST_BYTES, name)
            mutations = Mutations(seeds, target.longest, Random(zlib.crc32(name.encode())))
            for data in [*seeds, *islice(mutations, _MORE)]:
                try:
                    target.one(data)
                except Exception as error:
                    raise AssertionError(f"{name}: {data!r}") from error


class Driver(SynchronousTestCase):
    def test_each_target_gets_its_share_and_none_too_few(self) -> None:
        given = shares(list(TARGETS), 10_000_000)
        self.assertEqual(sum(given.values()), 10_000_000)
        self.assertGreaterEqual(min(given.values()), 100_000)
        self.assertEqual(sum(shares(["date", "body"], 7).values()), 7)

    def test_mutations_are_the_same_each_time_bounded_and_not_the_seeds(self) -> None:
        one, two = (list(islice(Mutations([b"MAIL FROM:<a@b>\r\n"], 40, Random(1)), 200)) for _ in range(2))
        self.assertEqual(one, two)
        self.assertGreater(len(set(one)), 100)
        self.assertLessEqual(max(map(len, one)), 40)

    def test_a_finding_is_written_down(self) -> None:
        def one(data: bytes) -> None:
            if b"\0" in data:
                raise ValueError("found")

        TARGETS["broken"] = Target(one)
        self.addCleanup(TARGETS.pop, "broken")
        place = Path(self.mktemp())
        place.mkdir()
        self.patch(sys, "stderr", StringIO())
        self.assertEqual(unguided("broken", 10_000, 0, 1, place), 1)
        (finding,) = place.iterdir()
        self.assertIn(b"\0", finding.read_bytes())

    def test_what_reaches_nothing_new_is_not_kept(self) -> None:
        dates = [b"2030-01-01T00:00:00Z", b"2031-01-01T00:00:00Z"]
        kept = chosen(TARGETS["release"].one, [b"60", b"61"], [b"62", *dates])
        self.assertEqual(kept, [b"60", b"61", dates[0]])
        place = Path(self.mktemp())
        write(place, kept)
        self.assertEqual(sorted(inputs(place)), sorted(kept))
