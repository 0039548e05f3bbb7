"""The body of a request that a mail is made of: kept until it is complete, with room in memory for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from relay.http.answer import RETRY_AFTER, failure

if TYPE_CHECKING:
    from relay.http.request import ApiRequest


class Room:
    """What bodies may hold in memory together (bytes). One alone always may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    def take(self, size: int) -> None:
        """Raises Problem: 503, there is none now."""
        if self._taken and self._taken + size > self._most:
            raise failure(503, "Not enough memory now, try again later", RETRY_AFTER)
        self._taken += size

    def give_back(self, size: int) -> None:
        """It is needed no more."""
        self._taken -= size


class MailBody:
    """An upload (see relay.http.request) of at most `limit` bytes, for which room is taken until it is abandoned."""

    def __init__(self, limit: int, room: Room, size: int) -> None:
        """`size`: bytes that it may come to. Raises Problem: there is no room."""
        room.take(size)
        self.limit = limit
        self._room = room
        self._size = size
        self._text = bytearray()

    @classmethod
    def of(cls, request: ApiRequest, limit: int, room: Room) -> MailBody:
        """For the body of a request whose header is there. Raises Problem: there is no room."""
        stated = request.getHeader(b"content-length") or b""
        size = int(stated) if stated.isdigit() and len(stated) < 20 else limit
        return cls(limit, room, min(size, limit))

    def write(self, data: bytes) -> None:
        """Takes the next piece."""
        self._text += data

    def wait(self) -> Deferred[None] | None:
        """Its room is taken: it need never wait."""
        return None

    def text(self) -> bytes:
        """All of it; then it is gone from here."""
        text = bytes(self._text)
        self._text = bytearray()
        return text

    def abandon(self) -> None:
        """Forget it, and give its room back; a second time means nothing."""
        self._room.give_back(self._size)
        self._size = 0
        self._text = bytearray()
