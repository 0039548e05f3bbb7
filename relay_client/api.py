"""All that a client can be asked to do, by what it is about."""

from __future__ import annotations

from typing import Generic

from relay_client.access import Keys, Tenants
from relay_client.edge import E
from relay_client.events import Events
from relay_client.holds import Holds
from relay_client.messages import Messages
from relay_client.queue import Queue
from relay_client.state import State, Zones
from relay_client.suppressions import Suppressions


class Api(Generic[E]):
    """The groups of methods."""

    def __init__(self, edge: E) -> None:
        self.messages = Messages(edge)
        self.queue = Queue(edge)
        self.events = Events(edge)
        self.holds = Holds(edge)
        self.suppressions = Suppressions(edge)
        self.zones = Zones(edge)
        self.state = State(edge)
        self.keys = Keys(edge)
        self.tenants = Tenants(edge)
