"""Take away from a directory everything that was never synced, as a power cut would.

kill -9 alone cannot find a missing fsync: the page cache survives the process. Run the relay
under powercut.so (see powercut.c), kill its whole tree, then, before the restart:

    powercut.py /abs/queue --log /abs/synced.log --mode torn --seed 7

  lose     every file is cut back to its last synced length; never-synced files are emptied
  torn     cut somewhere between the synced and the written length (a partial write-back)
  zero     length kept, unsynced tail zeroed from a random point (delayed allocation)
  garbage  length kept, unsynced tail overwritten with noise from a random point
  mixed    one of these per file
Afterwards everything left counts as durable (the log is rewritten as a baseline).
Renames and unlinks are taken as durable; overwriting in place is not modelled.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
from collections.abc import Iterator

MODES = ("lose", "torn", "zero", "garbage")


def synced_lengths(log: str) -> dict[int, int]:
    """Inode to the length at its last sync, as powercut.so noted it."""
    durable: dict[int, int] = {}
    if os.path.exists(log):
        with open(log) as file:
            for line in file:
                words = line.split()
                if len(words) == 3 and words[0] == "F":
                    durable[int(words[1])] = int(words[2])
    return durable


def regular_files(directory: str) -> Iterator[str]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def cut(directory: str, log: str, mode: str, rng: random.Random) -> collections.Counter[str]:
    """Do it; returns what was done: files hit, bytes at risk, files never synced, and modes used."""
    durable, done, baseline = synced_lengths(log), collections.Counter[str](), []
    for path in regular_files(directory):
        status = os.stat(path)
        keep = min(durable.get(status.st_ino, 0), status.st_size)
        if status.st_size > keep:
            how = rng.choice(MODES) if mode == "mixed" else mode
            at = keep if how == "lose" else rng.randint(keep, status.st_size)
            rest = status.st_size - at
            with open(path, "r+b") as file:
                file.seek(at)
                if how in ("lose", "torn"):
                    file.truncate(at)
                else:
                    file.write(bytes(rest) if how == "zero" else rng.randbytes(rest))
            done.update(
                {
                    "files hit": 1,
                    "bytes at risk": status.st_size - keep,
                    "never synced": status.st_ino not in durable,
                    how: 1,
                }
            )
        baseline.append(f"F {status.st_ino} {os.path.getsize(path)}\n")
    with open(log, "w") as file:
        file.writelines(baseline)
    return done


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory")
    p.add_argument("--log", required=True)
    p.add_argument("--mode", default="lose", choices=[*MODES, "mixed"])
    p.add_argument("--seed", type=int)
    a = p.parse_args()
    print(dict(cut(a.directory, a.log, a.mode, random.Random(a.seed))))
