"""Connections of one child whose hosts have answered, while they wait for a place among those that send."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.dispatch.connection import Connection


class Newcomers:
    """Users take turns: whoever has called a thousand hosts keeps nobody waiting for all of these. Before them come
    those that had a place already while they called.

    Attributes:
        slow: those that need no place, longest waiting first.
    """

    __slots__ = ("_first", "_users", "slow")

    def __init__(self) -> None:
        self.slow: OrderedDict[int, Connection] = OrderedDict()
        self._first: OrderedDict[int, Connection] = OrderedDict()
        self._users: OrderedDict[str, OrderedDict[int, Connection]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.slow) + len(self._first) + sum(map(len, self._users.values()))

    def __bool__(self) -> bool:
        return bool(self.slow or self._first or self._users)

    def add(self, connection: Connection) -> None:
        """It waits, behind those of the same user."""
        if connection.slow:
            self.slow[connection.number] = connection
        elif connection.fresh:
            self._users.setdefault(connection.way.user, OrderedDict())[connection.number] = connection
        else:
            self._first[connection.number] = connection

    def remove(self, connection: Connection) -> None:
        """It waits no more; the next one will be another user's."""
        if self.slow.pop(connection.number, None) is None and self._first.pop(connection.number, None) is None:
            user = connection.way.user
            theirs = self._users.pop(user)
            del theirs[connection.number]
            if theirs:
                self._users[user] = theirs

    def head(self) -> Connection | None:
        """Whose turn it is of those that need one."""
        for line in (self._first, *self._users.values()):
            for connection in line.values():
                return connection
        return None
