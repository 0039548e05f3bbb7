"""The words master and sender child say to each other, as values (docs/channel.md).

A frame on the wire is a 4-byte big-endian length and a msgpack array whose first item
is the tag. The master numbers connections and leases; a child never invents one.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from relay.message.tls import TlsResult
from relay.message.values import Origin, Outcome

VERSION = 2
#: Longest first frame of whoever connects to the master (bytes).
MAX_HELLO = 4 * 1024
#: Longest frame a master takes of a sender, which only reports (bytes).
MAX_TO_MASTER = 64 * 1024
#: Longest frame a sender takes: an offer carries header and small body (bytes).
MAX_TO_CHILD = 4 * 1024 * 1024
#: Longest header of a message, so that an offer with a chunk of body is no frame too long (bytes).
MAX_HEADER = 2 * 1024 * 1024
#: Size of a body chunk in the store and on the channel (bytes).
CHUNK = 256 * 1024


class Frame(msgspec.Struct, frozen=True, array_like=True, tag_field="t", gc=False):
    """Base of all frames."""


# -- child to master


class Hello(Frame, frozen=True, array_like=True, gc=False, tag=1):
    """First words of a child; anything else before it ends the connection. `place` is a
    sender's zone, or a receiver's listener."""

    version: int
    secret: str
    child: str
    place: str
    pid: int


class Answered(Frame, frozen=True, array_like=True, gc=False, tag=2):
    """A new connection is ready for MAIL; the child waits for Go."""

    connection: int
    host: str
    host_address: str


class Quiet(Frame, frozen=True, array_like=True, gc=False, tag=3):
    """The peer has been silent for a while; the session goes on waiting."""

    connection: int


class Active(Frame, frozen=True, array_like=True, gc=False, tag=4):
    """The peer of a quiet session has done what it was waited for."""

    connection: int


class Done(Frame, frozen=True, array_like=True, gc=False, tag=5):
    """An attempt ended, and so it went with the first whom it was for. `kept` says whether the connection stays
    open, idle."""

    connection: int
    lease: int
    outcome: Outcome
    kept: bool


class Closed(Frame, frozen=True, array_like=True, gc=False, tag=6):
    """Its socket is gone: of an idle connection, one that Done said isn't kept, or one that was to be closed."""

    connection: int


class More(Frame, frozen=True, array_like=True, gc=False, tag=7):
    """Asks for the next body chunk of a lease."""

    lease: int
    chunk: int


class Pong(Frame, frozen=True, array_like=True, gc=False, tag=8):
    number: int


class Redial(Frame, frozen=True, array_like=True, gc=False, tag=9):
    """Asks for leave to call another host: the one before didn't let us get as far as MAIL, or has closed a kept
    connection. The child waits for Dial, and when that host has answered for Go. The first call on a number is
    allowed with its offer, for a second. `begun`: the host before has heard of the message, so what was paid for that
    is spent. `called` is the address of the host that was called last, `next` of the one that is to be; "" for none."""

    connection: int
    begun: bool = False
    called: str = ""
    next: str = ""


class BadKey(Frame, frozen=True, array_like=True, gc=False, tag=10):
    """A signing key of `domain` can't be used, or (`file` is "") isn't there; said again while that is so."""

    domain: str
    file: str
    reason: str


class TlsResults(Frame, frozen=True, array_like=True, gc=False, tag=11):
    """What TLS came to on connections since this was said before, each kind of result with its count; said every few
    seconds and at leaving. What a child knows that is killed is lost."""

    counts: tuple[tuple[TlsResult, Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]], ...]


class Fared(Frame, frozen=True, array_like=True, gc=False, tag=12):
    """How it went with one of the fellows of an offer, before Done tells of the first. `outcome` None: it was left
    behind, nothing was tried for it in vain, and it is due as before; `apart`: for its domain can't share the
    connection with that of the first."""

    lease: int
    outcome: Outcome | None
    apart: bool = False


# -- master to child


class Welcome(Frame, frozen=True, array_like=True, gc=False, tag=20):
    """Answer to Hello: `epoch` is the master's, and the high half of every lease number."""

    epoch: int
    heartbeat: float
    lease: float


class Fellow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One more recipient of the message that an offer carries, under a lease of its own. `domain` is "" where it is
    that of the offer."""

    lease: int
    seq: int
    recipient: str
    notify: str = ""
    orcpt: str = ""
    domain: str = ""


class Offer(Frame, frozen=True, array_like=True, gc=False, tag=21):
    """Take this delivery on that connection: reuse it where it fits, else connect anew.

    `body` is the whole body when it is small; otherwise it is None and is fetched by More.
    `local_address`/`local_name` are what to bind to and say in EHLO to hosts that are reached
    over IPv4, `local_address6`/`local_name6` over IPv6; no host is where the address is "".
    From `smtputf8` to `orcpt` it is what the client asked for (see relay.message.envelope). `body_hash` and `tls` are
    those of the message. `fellows` are further recipients, for the same transaction.
    """

    connection: int
    lease: int
    id: str
    seq: int
    sender: str
    recipient: str
    domain: str
    local_address: str
    local_name: str
    local_address6: str
    local_name6: str
    origin: Origin
    created: int
    headers: bytes
    body_size: int
    chunks: int
    eight_bit: bool
    body: bytes | None = None
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    notify: str = ""
    orcpt: str = ""
    body_hash: bytes = b""
    fellows: tuple[Fellow, ...] = ()
    tls: str = ""


#: Who an offer is for: `lease`, `seq`, `recipient`, `notify` and `orcpt` are the same for all.
Addressee = Offer | Fellow


class Go(Frame, frozen=True, array_like=True, gc=False, tag=22):
    """The new connection may begin its transaction, for the first so `many` of those the offer is for; the others
    are left behind."""

    connection: int
    many: int = 1


class Close(Frame, frozen=True, array_like=True, gc=False, tag=23):
    """Give an idle connection back; Closed tells when that is done."""

    connection: int


class Chunk(Frame, frozen=True, array_like=True, gc=False, tag=24):
    """A body chunk, in answer to More; `data` None: it can't be read, defer."""

    lease: int
    chunk: int
    data: bytes | None


class Settled(Frame, frozen=True, array_like=True, gc=False, tag=25):
    """Outcomes of this many acceptances in all are on disk: the journal may forget them."""

    count: int


class Ping(Frame, frozen=True, array_like=True, gc=False, tag=26):
    number: int


class Hold(Frame, frozen=True, array_like=True, gc=False, tag=28):
    """While `on`, no final dot may be begun: the master can't record what would come of it."""

    on: bool


class Quit(Frame, frozen=True, array_like=True, gc=False, tag=27):
    """Finish final dots, report, close and leave."""


class Dial(Frame, frozen=True, array_like=True, gc=False, tag=29):
    """Another host may be called, in answer to Redial."""

    connection: int


ToMaster = Hello | Answered | Quiet | Active | Done | Closed | More | Pong | Redial | BadKey | TlsResults | Fared
ToChild = Welcome | Offer | Go | Close | Chunk | Settled | Ping | Hold | Quit | Dial
