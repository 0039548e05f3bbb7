"""A receiver's door and its desk at the master, and between them what the channel carries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.channel.codec import FROM_RECEIVER, TO_RECEIVER, FrameReader, pack
from relay.channel.frames import Frame
from relay.config.schema import Listener
from relay.intake.desk import Desk
from relay.message.headers import HeaderBlock
from relay.reception.door import AskingDoor


class Pair:
    """Frames go as bytes, in order. `at_once`: without waiting for `pump`.

    `said` and `heard` are all that the receiver said and the master did, in order.
    """

    def __init__(
        self,
        section: Listener,
        door: Any,
        hashes: Callable[[HeaderBlock], bool] = lambda block: False,
        at_once: bool = False,
        listener: str = "feeder",
    ) -> None:
        self.said: list[Any] = []
        self.heard: list[Any] = []
        self.at_once = at_once
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self._master, self._receiver = FrameReader(FROM_RECEIVER), FrameReader(TO_RECEIVER)
        self._pumping = False
        self.desk = Desk(listener, section, door, self._to_receiver)
        self.door = AskingDoor(section, self._to_master, hashes)

    def _to_master(self, frame: Frame) -> None:
        self.up.append(pack(frame))
        if self.at_once:
            self.pump()

    def _to_receiver(self, frame: Frame) -> None:
        self.down.append(pack(frame))
        if self.at_once:
            self.pump()

    def pump(self) -> None:
        """Let both sides hear what is on its way, and what comes of that."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self.up or self.down:
                self.pump_up()
                self.pump_down()
        finally:
            self._pumping = False

    def pump_up(self, count: int = 1_000_000) -> None:
        while self.up and count:
            count -= 1
            for frame in self._master.feed(self.up.popleft()):
                self.said.append(frame)
                self.desk.frame(frame)

    def pump_down(self, count: int = 1_000_000) -> None:
        while self.down and count:
            count -= 1
            for frame in self._receiver.feed(self.down.popleft()):
                self.heard.append(frame)
                self.door.frame(frame)

    def tell_master(self, frame: Frame) -> None:
        """What a receiver in its senses might not say. Raises BadFrame."""
        for read in FrameReader(FROM_RECEIVER).feed(pack(frame)):
            self.desk.frame(read)

    def answers(self, kind: type | None = None) -> list[Any]:
        """What the master has said since it was last asked, which the receiver does not hear."""
        found = [frame for data in self.down for frame in self._receiver.feed(data)]
        self.down.clear()
        return [frame for frame in found if kind is None or type(frame) is kind]
