"""One target in a process of its own: `python -m tests.fuzz.run NAME INPUTS SECONDS SEED FOUND CRASHES`.

Guided by atheris where that is installed (libFuzzer for Python: inputs that reach new code are
kept and changed further), else by chance. The last line says how many inputs were tried.
"""

from __future__ import annotations

import sys
import time
import traceback
from hashlib import sha256
from itertools import chain
from pathlib import Path
from random import Random

from tests.fuzz.corpus import CORPUS, inputs
from tests.fuzz.mutate import Mutations

#: An input that takes longer than this is a finding (seconds).
SLOW = 10


def guided(name: str, count: int, seconds: int, seed: int, found: Path, crashes: Path) -> None:
    """Doesn't return: the library ends the process."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["relay"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    options = [
        f"-runs={count}",
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={target.longest}",
        f"-timeout={SLOW}",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-artifact_prefix={crashes}/{name}-",
    ]
    committed = CORPUS / name
    directories = [str(found), *([str(committed)] if committed.is_dir() else [])]
    atheris.Setup([sys.argv[0], *options, *directories], target.one)
    atheris.Fuzz()


def unguided(name: str, count: int, seconds: int, seed: int, crashes: Path) -> int:
    """The exit code."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    seeds = inputs(CORPUS / name)
    end = time.monotonic() + seconds if seconds else float("inf")
    done = 0
    for data in chain(seeds, Mutations(seeds, target.longest, Random(seed))):
        if done >= count or time.monotonic() > end:
            break
        done += 1
        begun = time.monotonic()
        try:
            target.one(data)
            if time.monotonic() - begun > SLOW:
                raise TimeoutError(f"took {time.monotonic() - begun:.1f} s")
        except Exception:
            traceback.print_exc()
            (crashes / f"{name}-crash-{sha256(data).hexdigest()[:16]}").write_bytes(data)
            print(f"stat::number_of_executed_units: {done}", file=sys.stderr)
            return 1
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)
    return 0


def main() -> int:
    name, count, seconds, seed, found, crashes = sys.argv[1:]
    try:
        guided(name, int(count), int(seconds), int(seed), Path(found), Path(crashes))
    except ImportError as error:
        if error.name != "atheris":
            raise
    return unguided(name, int(count), int(seconds), int(seed), Path(crashes))


if __name__ == "__main__":
    sys.exit(main())
