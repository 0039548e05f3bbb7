"""What is counted of a listener's clients; each word is a value of the label `event` in the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Happening = Literal[
    # Clients: sent away instead of a greeting, gone, without the header of their balancer, with TLS or
    # failed at it, too early with their first word, too slow, cut off for want of memory.
    "connected", "turned_away", "disconnected", "no_header", "tls", "no_tls", "too_early", "timeout", "shed",
    # Logins that ended.
    "login", "login_failed",
    # Commands: a recipient or sender that is not for this client; MAIL or DATA while memory is short.
    "denied", "put_off",
    # Messages: taken, refused, lost by a fault of ours, not ended by their client.
    "accepted", "refused", "failed", "abandoned",
]  # fmt: skip

#: All of them.
HAPPENINGS: tuple[Happening, ...] = get_args(Happening)

Observe = Callable[[Happening], None]
