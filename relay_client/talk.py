"""How a question is put until it is answered. Pure: it says what to do next and is told what came of it.

    asked ──answer──▶ read, done
      │  ▲
      │  └── pause: 429 or 503 say that nothing was done; nobody was reached; or to ask twice does no harm
      └──refusal, or tried often enough──▶ ApiProblem, NoAnswer
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from relay_client.ask import Ask, Reply
from relay_client.errors import NoAnswer, RelayError, problem

T = TypeVar("T")

#: Seconds of the first pause, each of the next is twice as long; and of the longest.
FIRST, LONGEST = 0.5, 30.0
#: A relay that wants to be left alone for longer isn't waited for (seconds).
PATIENCE = 60.0
#: Statuses that say: not now.
BUSY = (429, 503)


class Try(NamedTuple):
    """Ask that now; tell a Reply or Lost."""

    ask: Ask[Any]


class Pause(NamedTuple):
    """Let so many seconds go by."""

    seconds: float


class Lost(NamedTuple):
    """No answer, and why; `reached`: the relay may have got the question."""

    why: str
    reached: bool


Talk = Generator[Try | Pause, Reply | Lost | None, T]


class Habits(NamedTuple):
    """How often something is tried, and `chance`, which gives numbers from 0 to 1, and `now` in seconds since the
    epoch."""

    tries: int
    chance: Callable[[], float]
    now: Callable[[], float]

    def pause(self, tried: int) -> float:
        """Seconds before the next try, after so many: longer each time, and never the same for all clients."""
        return float(min(LONGEST, FIRST * 2 ** (tried - 1)) * (0.5 + self.chance() / 2))


def talk(ask: Ask[T], habits: Habits) -> Talk[T]:
    """Returns what is answered. Raises ApiProblem, NoAnswer."""
    once = not (ask.body is None or isinstance(ask.body, bytes))
    tried = 0
    while True:
        said = yield Try(ask)
        tried += 1
        wait: float | None = None
        error: RelayError
        if isinstance(said, Reply):
            if said.status < 300 or said.status in ask.good:
                return _read(ask, said)
            wait = retry_after(said, habits.now())
            error = problem(said, wait)
            again = said.status == 429 or (said.status in BUSY and wait is not None)
        else:
            assert said is not None
            error = NoAnswer(said.why)
            again = ask.repeatable or not said.reached
        # Pieces of a body that were handed out are gone.
        if not again or once or tried >= habits.tries or (wait or 0.0) > PATIENCE:
            raise error
        yield Pause(max(wait or 0.0, 0.0) + habits.pause(tried))


def retry_after(reply: Reply, now: float) -> float | None:
    """What Retry-After says (RFC 9110 10.2.3), in seconds; None: nothing that can be read."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now) if text else None
    except (ValueError, OverflowError):
        return None


def _read(ask: Ask[T], reply: Reply) -> T:
    try:
        return ask.read(reply)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise NoAnswer(f"what answers to {ask.method} {ask.target} is no relay of this version") from None
