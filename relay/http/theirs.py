"""What is a caller's own: those of a tenant see and touch their tenant's alone, and aren't told that there is more."""

from __future__ import annotations

from typing import Protocol

from relay.access.caller import Caller
from relay.config.plain import shown
from relay.http.answer import Problem, refusal
from relay.message.values import Message


class Kept(Protocol):
    """See relay.queue.store.Store."""

    def message(self, queue_id: str) -> Message | None: ...


def is_theirs(caller: Caller, store: Kept, queue_id: str) -> bool:
    """Whether a message is in the queue and there for the caller; whoever is no tenant's isn't held up by a look.
    Raises StoreError."""
    if not caller.tenant:
        return True
    message = store.message(queue_id)
    return message is not None and message.tenant == caller.tenant


def check_way(caller: Caller, allowed: bool, field: str) -> None:
    """A caller says which way mail is to go; `allowed`: those of a tenant may (api.allow_routing_headers). Raises
    Problem: 403 with the field."""
    if caller.tenant and not allowed:
        raise refusal(403, "Forbidden", f"{field}: which way your mail goes is decided by the relay", field=field)


def anothers(field: str, given: str) -> Problem:
    """A tenant's caller names another one: 403 with the field."""
    return refusal(403, "Forbidden", f"{field}: expected your own or none, got {shown(given)}", field=field)
