"""The resources that show and change when mail may go, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from relay.dispatch.keywatch import KeyWatch
from relay.dispatch.shaping import Shaping
from relay.dispatch.why import Reasons
from relay.http.backoff import BackoffApi
from relay.http.decisions import DecisionsApi
from relay.http.dkim import DkimApi
from relay.http.holds import HoldsApi
from relay.http.keys import KeysApi
from relay.http.warmup import WarmupApi
from relay.http.why import WhyApi
from relay.queue.store import Store
from relay.zone.zones import Zones


def resources(
    shaping: Shaping,
    reasons: Reasons,
    store: Store,
    keys: KeyWatch,
    zones: Zones,
    clock: IReactorTime,
    now: Callable[[], int],
) -> Sequence[object]:
    """All of them. `now` gives milliseconds since the epoch."""
    return (
        HoldsApi(shaping.holds, zones.names, clock, now),
        DecisionsApi(shaping.decisions),
        BackoffApi(shaping.backoff, now),
        WarmupApi(shaping.warming, now),
        WhyApi(reasons, store),
        DkimApi(keys),
        KeysApi(keys.directory, keys, deferToThread),
    )
