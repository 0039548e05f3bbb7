"""When a failed delivery is tried again, and when it is given up. Pure.

Each step counts from the failure. When the list is used up the next failure ends the
delivery, unless the last step repeats until the message is too old.
"""

from __future__ import annotations

from relay.config.schema import Queue
from relay.message.values import Delivery


class Retry:
    """The retry schedule of a configuration."""

    def __init__(self, queue: Queue) -> None:
        self._steps = tuple(round(step * 1000) for step in queue.retry)
        self._repeat = queue.retry_repeat_last
        self._max_age = round(queue.max_age * 1000)
        self._life = max(sum(self._steps), self._max_age if self._repeat else 0)

    @property
    def longest(self) -> int:
        """The longest step (ms)."""
        return max(self._steps)

    def step(self, attempts: int) -> int:
        """The wait (ms) after failure number `attempts` (1 is the first)."""
        return self._steps[min(attempts, len(self._steps)) - 1]

    def until(self, delivery: Delivery) -> int:
        """When it will be given up (ms since the epoch) if all its tries are in vain, beginning with the one that it
        is due for."""
        last = delivery.due + sum(self._steps[delivery.attempts :])
        return max(last, delivery.first_failure + self._max_age) if self._repeat else last

    def is_over(self, delivery: Delivery, since: int, now: int) -> bool:
        """Whether a delivery has waited for so long for what is shut since `since` (ms since the epoch) that it would
        have been given up by now, had it been tried in vain each time that it was due. It has been due for at least
        one step, so that whoever asks for one more try gets the time for that."""
        first = max(since, delivery.first_failure or delivery.due)
        return now - first > self._life and now - delivery.due > self.step(delivery.attempts + 1)

    def next(self, delivery: Delivery, now: int) -> int | None:
        """Due time (ms, a whole second) after a failure at `now`; None: give up."""
        failures = delivery.attempts + 1
        if failures > len(self._steps):
            first = delivery.first_failure or now
            if not self._repeat or now - first > self._max_age:
                return None
        return -(-(now + self.step(failures)) // 1000) * 1000
