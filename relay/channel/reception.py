"""The words a receiver child and the master say to each other, as values (docs/channel.md).

The receiver numbers what it begins: clients that come in, logins and submissions, each from 1
upwards. Limits of single fields stand here; what is legal when is the desk's to say
(relay.intake.desk). Hello, Welcome, Ping, Pong and Quit are those of all children.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

from relay.channel.frames import CHUNK, MAX_HEADER, Frame, Ping, Pong, Quit, Welcome
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Origin
from relay.smtp.reply import Reply

#: Recipients in one frame; those before the last so many come in frames of their own.
RECIPIENTS = 200
#: Longest frame a master takes of a receiver: a header, a piece of body, and an envelope (bytes).
MAX_FROM_RECEIVER = MAX_HEADER + CHUNK + 1024 * 1024
#: Longest frame a receiver takes: users, replies, challenges (bytes).
MAX_TO_RECEIVER = 1024 * 1024
#: Pieces of one submission that may be on their way to the master.
PIECES_AHEAD = 2
#: The same over all submissions of all receivers of a listener; each has four at least.
_AHEAD_IN_ALL = 48

Number = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Short = Annotated[str, msgspec.Meta(max_length=256)]
Long = Annotated[str, msgspec.Meta(max_length=4096)]


def pieces_ahead(processes: int) -> int:
    """How many pieces of body may be on their way from one of so many receivers."""
    return max(4, _AHEAD_IN_ALL // processes)


def most_at_once(max_connections: int) -> int:
    """How many clients, logins and submissions each a receiver may have begun and not ended. It
    is more than the connections, as some go on for a moment when their client is gone."""
    return 2 * max_connections


#: Longest text of a client's that is kept with a message (characters): no command line is longer.
_LONGEST = 4096
_unfit = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]").search


def fit(values: Iterable[object]) -> bool:
    """Whether the texts among these may go into headers, commands and logs. The receiver asks
    before it says them, and the master once more."""
    return not any(isinstance(value, str) and (len(value) > _LONGEST or _unfit(value)) for value in values)


# -- receiver to master


class Entered(Frame, frozen=True, array_like=True, gc=False, tag=40):
    """A client has connected: may it stay?"""

    number: Number
    address: Short


class Left(Frame, frozen=True, array_like=True, gc=False, tag=41):
    """A client that might stay is gone."""

    address: Short


class Login(Frame, frozen=True, array_like=True, gc=False, tag=42):
    """A login begins. `response` is the initial one, None when there is none."""

    number: Number
    mechanism: Short
    address: Short
    helo: Long
    certificate: Annotated[tuple[Long, ...], msgspec.Meta(max_length=100)]
    response: Annotated[bytes, msgspec.Meta(max_length=16 * 1024)] | None


class Response(Frame, frozen=True, array_like=True, gc=False, tag=43):
    """The answer to a challenge."""

    number: Number
    response: Annotated[bytes, msgspec.Meta(max_length=16 * 1024)]


class Cancel(Frame, frozen=True, array_like=True, gc=False, tag=44):
    """The client gave its login up, or is gone."""

    number: Number


class Open(Frame, frozen=True, array_like=True, gc=False, tag=45):
    """A message is to come, for so many recipients."""

    number: Number
    origin: Origin
    user: User | None
    recipients: Count


class Piece(Frame, frozen=True, array_like=True, gc=False, tag=46):
    """The next CHUNK bytes of its body, numbered from 0."""

    number: Number
    chunk: Count
    data: Annotated[bytes, msgspec.Meta(min_length=CHUNK, max_length=CHUNK)]


class To(Frame, frozen=True, array_like=True, gc=False, tag=47):
    """The next of many recipients; the last ones come with Finish."""

    number: Number
    recipients: Annotated[tuple[Recipient, ...], msgspec.Meta(min_length=1, max_length=RECIPIENTS)]


class Finish(Frame, frozen=True, array_like=True, gc=False, tag=48):
    """The end of a message: its envelope, and its text less the pieces (relay.listener.draft.Text)."""

    number: Number
    envelope: Envelope
    header: Annotated[bytes, msgspec.Meta(max_length=MAX_HEADER)]
    body_size: Count
    chunks: Count
    rest: Annotated[bytes, msgspec.Meta(max_length=CHUNK)]
    eight_bit: bool
    body_hash: Annotated[bytes, msgspec.Meta(max_length=32)]


class Abandon(Frame, frozen=True, array_like=True, gc=False, tag=49):
    """The client is gone; with a refusal: its message was refused. Forget it."""

    number: Number
    sender: Long = ""
    refusal: Reply | None = None


class Happened(Frame, frozen=True, array_like=True, gc=False, tag=50):
    """How often what has happened to clients since this was said before (relay.listener.happening)."""

    counts: Annotated[dict[Short, Count], msgspec.Meta(max_length=100)]


class Named(Frame, frozen=True, array_like=True, gc=False, tag=51):
    """A client names a recipient, for mail of a tenant, of a user without one, or of nobody (""): may it?"""

    number: Number
    owner: Long
    recipient: Long


# -- master to receiver


class Pass(Frame, frozen=True, array_like=True, gc=False, tag=60):
    """The client may stay; with a refusal: it may not."""

    number: int
    refusal: Reply | None = None


class Answer(Frame, frozen=True, array_like=True, gc=False, tag=61):
    """What the master says in a login: one of the three. All but a challenge end it."""

    number: int
    challenge: bytes | None = None
    user: User | None = None
    refusal: Reply | None = None


class Opened(Frame, frozen=True, array_like=True, gc=False, tag=62):
    """The message may come, and has this queue id; with a refusal: it may not."""

    number: int
    id: str
    refusal: Reply | None = None


class Taken(Frame, frozen=True, array_like=True, gc=False, tag=63):
    """So many pieces in all have been taken, and as many more may follow."""

    number: int
    chunks: int


class Verdict(Frame, frozen=True, array_like=True, gc=False, tag=64):
    """The message is on disk under this id since `created` (ms since the epoch); with a refusal: it isn't."""

    number: int
    id: str
    created: int = 0
    refusal: Reply | None = None


class Admitted(Frame, frozen=True, array_like=True, gc=False, tag=65):
    """The recipient may be taken; with a refusal: it may not."""

    number: int
    refusal: Reply | None = None


class Heed(Frame, frozen=True, array_like=True, gc=False, tag=66):
    """From now on each recipient is to be named before it is taken, or none any more; at first none is."""

    named: bool


FromReceiver = (
    Pong | Entered | Left | Login | Response | Cancel | Open | Piece | To | Finish | Abandon | Happened | Named
)
ToReceiver = Welcome | Ping | Quit | Pass | Answer | Opened | Taken | Verdict | Admitted | Heed
