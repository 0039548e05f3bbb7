"""One connection to one host, and what is said on it: greeting, transactions, texts, time-outs.

It joins the wire to the conversation and knows how long each reply may take. What an ending
means for the attempt, and what comes next, is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from twisted.internet.defer import Deferred

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.delivery.contact import Caller
from relay.delivery.exchangers import Host
from relay.delivery.manner import PLAIN, Manner
from relay.delivery.proof import Proof, prove
from relay.delivery.security import Approach
from relay.delivery.text import Text
from relay.delivery.tls_result import TlsFailure, TlsResult, of_ending
from relay.delivery.wire import Wire
from relay.message.envelope import Recipient
from relay.message.values import Result
from relay.net.client_tls import ClientTls, Handshake, TlsUnusable
from relay.smtp.client import Conversation, Event, Tls
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: A peer that lets us wait for this long is quiet (seconds).
QUIET_AFTER = 0.5
#: A text of up to so many bytes goes along with the commands where it may: so much is sent in vain if they are refused.
HURRIED = 64 * 1024

NEVER = float("inf")
#: How often what one reply may take all those at its stage may take together.
_TOGETHER = 10


class Call:
    """See the module.

    Attributes:
        host: who is called.
        name: what we call ourselves in EHLO; "" for the address literal.
        local_address: the local address that was asked for, maybe a wildcard.
        bound: the one in use, once connected.
        approach: how safe it has to be, and what is tried for that.
        tls: version, cipher and worth of the certificate (see `Proof`), "" in the clear.
        deadline: when `expired` is to be called, on the clock `now`.
        quiet_at: when the peer counts as quiet.
    """

    __slots__ = (
        "_caller", "_client_tls", "_conversation", "_handshake", "_manner", "_now", "_proof", "_reactor", "_replies",
        "_reported", "_stage", "_text", "_timeouts", "_until", "_wire", "approach", "bound", "deadline", "host",
        "local_address", "name", "quiet_at", "tls",
    )  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        host: Host,
        name: str,
        local_address: str,
        reactor: Reactor,
        timeouts: Timeouts,
        now: Callable[[], float],
        approach: Approach,
        client_tls: ClientTls,
        manner: Manner = PLAIN,
    ) -> None:
        self.host = host
        self.approach = approach
        self.tls = ""
        self._proof = Proof(approach)
        self._client_tls = client_tls
        self._manner = manner
        self._handshake: Handshake | None = None
        tried = approach.implicit or approach.starttls is not Tls.NEVER
        self._reported = approach.reported if tried else None
        self.name = name
        self.bound = ""
        self.deadline = self.quiet_at = NEVER
        self.local_address = local_address
        self._caller = caller
        self._reactor = reactor
        self._timeouts = timeouts
        self._now = now
        self._conversation = self._converse(name)
        self._wire = Wire(self)
        self._stage = ""
        self._replies = 0
        self._until = NEVER
        self._text: Text | None = None

    # -- asking

    @property
    def in_dot(self) -> bool:
        """The final dot was sent and is not answered yet: the host may have the message."""
        return self._conversation.in_dot

    @property
    def transactions(self) -> int:
        """How many were begun."""
        return self._conversation.transactions

    @property
    def most_recipients(self) -> int:
        """See `Contact`; the host says so by LIMITS, too."""
        return self._conversation.offered.max_recipients

    def spent(self, most: int) -> bool:
        """See `Contact`; the host says so by LIMITS."""
        return self.transactions >= most or self._conversation.spent

    def satisfies(self, need: Approach) -> bool:
        """See `Proof`."""
        return self._proof.satisfies(need)

    # -- orders

    def dial(self, port: int) -> None:
        """Connect. Comes to `ready` or `ended`, not within this call."""
        self._wait("connect")
        # The deadline rules; the reactor's own time-out only stands behind it.
        backstop = 2 * self._timeouts.connect
        self._wire.dial(self._reactor, self.host.address, port, self.local_address, backstop)

    def begin(self, offer: Offer, to: Sequence[Addressee], head: bytes) -> None:
        """Begin a transaction: after `ready`, or after an ending that was reusable.

        `to` are those of the offer that it is for, `head` is all that goes before the body, the empty line included.
        """
        text = Text(offer, head, self)
        first, *others = to
        order = self._conversation.begin(
            offer.sender,
            first.recipient,
            text.size,
            offer.eight_bit,
            utf8_header=offer.smtputf8 and not head.isascii(),
            require_tls=offer.require_tls,
            ret=offer.ret,
            envid=offer.envid,
            notify=first.notify,
            orcpt=first.orcpt,
            fellows=[Recipient(one.recipient, one.notify, one.orcpt) for one in others],
        )
        if isinstance(order, Ending):
            self._caller.ended(order)
            return
        whole = text.whole(HURRIED) if self._conversation.hurries else None
        if whole is not None and self._caller.may_end():
            order += self._conversation.end(whole)
        else:
            self._text = text
        self._wire.write(order)
        self._stage = ""
        self._await_reply()

    def resume(self) -> None:
        """A final dot that was held may be sent."""
        if self._text is not None:
            self._text.resume()

    def rest(self, seconds: float) -> None:
        """Nothing is to be done for `seconds` at most."""
        self.deadline = self._now() + seconds
        self.quiet_at = NEVER

    def hurry(self, seconds: float) -> None:
        """All that is still to be said has so long at most."""
        self.deadline = self._until = min(self.deadline, self._now() + seconds)

    def leave(self) -> None:
        """Take leave of the host politely."""
        self._stop_text()
        self._wire.leave(self._reactor, self._timeouts.quit)

    def drop(self) -> None:
        """Hang up, whatever is under way."""
        self._stop_text()
        self._wire.drop()

    def expired(self) -> None:
        """The deadline is over."""
        stage = self._stage
        if stage == "connect":
            self._failed(stage, f"No connection within {self._timeouts.connect:g} s", "network")
        elif stage == "tls" and self._handshake is not None:
            self._failed(stage, f"No TLS handshake within {self._timeouts.tls:g} s", "network")
        elif self._text is not None and self._text.lacking and self._conversation.settled:
            self._failed(stage, f"The text was not to be had for {self._timeouts.body:g} s", "ours")
        elif stage == "body" and self._conversation.settled:
            self._failed(stage, f"The host took nothing for {self._timeouts.body:g} s", "network")
        else:
            self._ended(self._conversation.timed_out(getattr(self._timeouts, stage)))

    # -- what happens on the wire

    def connected(self) -> None:
        self.bound = self._wire.local_address
        if not self.name:
            self._conversation = self._converse(_literal(self.bound))
        if self.approach.implicit:
            self._start_tls()
        else:
            self._wait("banner")

    def _converse(self, name: str) -> Conversation:
        approach, manner = self.approach, self._manner
        return Conversation(
            name, approach.starttls, approach.implicit, manner.chunking, choose=manner.choose, lmtp=manner.lmtp
        )

    def _start_tls(self) -> None:
        self._wait("tls")
        try:
            self._handshake = self._client_tls.to(self.approach.called(self.host.name), self.approach.permissive)
        except TlsUnusable as error:
            self._failed("tls", str(error), "ours")
        else:
            self._wire.start_tls(self._handshake)

    def secured(self) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        proof = self._proof = prove(handshake, self.approach, self.host.name)
        if proof.doubt is not None:
            self._tell_tls(*proof.doubt)
        if proof.refused:
            self._failed("tls", proof.refused, "tls")
            return
        self._tell_tls("")
        self.tls = f"{handshake.description()} {proof.worth}"
        if self.approach.implicit:
            self._wait("banner")
        else:
            self._wire.write(self._conversation.secured())
            self._await_reply()

    def unsecured(self, reason: str) -> None:
        self._failed("tls", f"TLS handshake failed: {reason}", "tls")

    def unconnected(self, reason: str, ours: bool) -> None:
        self._failed("connect", reason, "ours" if ours else "network")

    def received(self, data: bytes) -> None:
        event = self._conversation.receive(data)
        if event is None:
            output = self._conversation.take()
            if output:
                self._wire.write(output)
            if self._conversation.refused:
                self._stop_text()
            if taken := self._conversation.taken():
                self._caller.taken(taken)
            self._await_reply()
            return
        self._caller.heard()
        if event is Event.BODY:
            self._until = NEVER  # A text takes as long as the host goes on taking it.
            self._wait("body")
            assert self._text is not None
            self._text.begin(self._wire.transport)
        elif event is Event.SETTLED:
            self._wait("body")
            if self._text is not None:
                self._text.resume()
        elif event is Event.SECURE:
            self._start_tls()
        elif event is Event.READY:
            self.deadline = self.quiet_at = NEVER
            self._tell_tls("starttls-not-supported")
            self._caller.ready()
        else:
            self._stop_text()
            self._ended(event)

    def lost(self, reason: str) -> None:
        self._ended(self._conversation.lost(reason))

    def gone(self) -> None:
        self._caller.gone()

    # -- the text

    def fetch(self, number: int) -> Deferred[bytes]:
        self._caller.heard()
        self._wait("body")
        self.quiet_at = NEVER
        return self._caller.chunk(number)

    def carry(self, data: bytes) -> None:
        self._wait("body")
        self._wire.write(self._conversation.text(data))

    def may_end(self) -> bool:
        if not self._conversation.settled:
            return False
        may = self._caller.may_end()
        if not may:
            self._wait("body")
            self.quiet_at = NEVER
        return may

    def end(self, data: bytes) -> None:
        self._text = None
        self._wire.write(self._conversation.end(data))
        self._await_reply()

    def cut(self, reason: str) -> None:
        # Without its end the host takes nothing.
        self._failed("body", reason, "ours")

    def _stop_text(self) -> None:
        text, self._text = self._text, None
        if text is not None:
            text.stop()

    # -- time

    def _await_reply(self) -> None:
        """Wait for the reply that is due; a piece of it doesn't prolong the wait, nor is it less quiet for that. Where
        one follows another at the same stage, for each recipient, all of them have some time together, too."""
        stage, replies = self._conversation.stage, self._conversation.replies
        if stage != self._stage:
            self._caller.heard()
            self._wait(stage)
            self._until = self._now() + _TOGETHER * getattr(self._timeouts, stage)
        elif replies != self._replies:
            self._caller.heard()
            self._wait(stage)
            self.deadline = min(self.deadline, self._until)
        self._replies = replies

    def _wait(self, stage: str) -> None:
        now = self._now()
        self._stage = stage
        self.deadline = now + getattr(self._timeouts, stage)
        self.quiet_at = now + QUIET_AFTER

    def _failed(self, stage: str, reason: str, category: str) -> None:
        if stage == "tls" and category != "ours":
            self._tell_tls("validation-failure", reason)
        self._caller.ended(Ending(Result.DEFERRED, stage, reason, category=category))

    def _ended(self, ending: Ending) -> None:
        failure = of_ending(ending)
        if failure is not None:
            self._tell_tls(failure, ending.text)
        self._caller.ended(ending)

    def _tell_tls(self, failure: TlsFailure | Literal[""], text: str = "") -> None:
        """Once for a connection: the first that is known counts."""
        policy, self._reported = self._reported, None
        if policy is not None:
            if self.approach.flaw and not failure:
                failure, text = "validation-failure", self.approach.flaw
            self._caller.tls(TlsResult(policy, failure, text, self.host.name, self.bound, self.host.address))


def _literal(address: str) -> str:
    """An address as a domain (RFC 5321 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
