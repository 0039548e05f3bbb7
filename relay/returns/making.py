"""Where what comes back is taken, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from relay.bounce.diagnosis import Diagnosis
from relay.bounce.returnpath import return_paths
from relay.config.schema import Returns
from relay.listener.door import Intake
from relay.logs.maillog import MailLog
from relay.returns.desk import Counts, Desk
from relay.returns.meaning import Reader
from relay.returns.past import Past


def desk_of(
    section: Returns,
    secrets: Sequence[bytes],
    past: Past,
    intake: Intake,
    *,
    judge: Callable[[str, int], Diagnosis],
    zone: str,
    log: MailLog,
    counts: Counts,
    now: Callable[[], int],
    in_thread: Callable[..., Deferred[Any]],
) -> Desk:
    """`judge` says what a reply means, `zone` is the one that bounce mail goes by, `now` gives ms since the epoch,
    `in_thread` runs a function where it may take a while."""
    paths = return_paths(section, secrets)
    return Desk(
        paths,
        Reader(paths, judge, past),
        past,
        intake,
        most=section.max_size,
        zone=zone,
        log=log,
        counts=counts,
        now=now,
        in_thread=in_thread,
    )
