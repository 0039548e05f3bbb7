"""One connection to one host by SMTP, and what is said on it: greeting, transactions, texts, time-outs.

It joins the line to the conversation and knows how long each reply may take. What an ending
means for the attempt, and what comes next, is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.delivery.contact import Caller
from relay.delivery.exchangers import Host
from relay.delivery.line import NEVER, Line
from relay.delivery.manner import PLAIN, Manner
from relay.delivery.security import UNSUPPORTED, Approach
from relay.delivery.text import Text
from relay.delivery.tls_result import of_ending
from relay.message.envelope import Recipient
from relay.net.client_tls import ClientTls
from relay.smtp.client import Conversation, Event
from relay.smtp.ending import Ending, unfit
from relay.smtp.minutes import Minutes

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: A text of up to so many bytes goes along with the commands where it may: so much is sent in vain if they are refused.
HURRIED = 64 * 1024

_LACKS = "this host does not offer REQUIRETLS"

#: How often what one reply may take all those at its stage may take together.
_TOGETHER = 10


class Call(Line):
    """See the module; a Contact (`contact.py`)."""

    __slots__ = ("_conversation", "_manner", "_minutes", "_replies", "_until")

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
        """`name` is what we call ourselves in EHLO; "" for the address literal."""
        super().__init__(caller, host, name, local_address, reactor, timeouts, now, approach, client_tls)
        self._manner = manner
        self._minutes = Minutes(now)
        self._conversation = self._converse(name)
        self._replies = 0
        self._until = NEVER

    # -- asking

    @property
    def in_dot(self) -> bool:
        return self._conversation.in_dot

    @property
    def transactions(self) -> int:
        return self._conversation.transactions

    @property
    def most_recipients(self) -> int:
        """See `Contact`; the host says so by LIMITS, too."""
        return self._conversation.offered.max_recipients

    @property
    def dsn(self) -> bool:
        return self._conversation.offered.dsn

    @property
    def most_domains(self) -> int:
        """See `Contact`; the host says so by LIMITS."""
        return self._conversation.offered.max_domains

    def spent(self, most: int) -> bool:
        """See `Contact`; the host says so by LIMITS."""
        return self.transactions >= most or self._conversation.spent

    def satisfies(self, need: Approach) -> bool:
        return super().satisfies(need) and (not need.required or self._conversation.keeps_tls)

    def dialogue(self, ending: Ending) -> str:
        """See `Contact`; an ending that no reply led to is told at its end."""
        return self._minutes.told("" if ending.code else ending.text)

    # -- orders

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
            # A bounce does without where that can't be had, and the host was called for that (`ways.Ways.find`).
            require_tls=self.approach.required if not offer.sender else offer.require_tls,
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

    def hurry(self, seconds: float) -> None:
        super().hurry(seconds)
        self._until = self.deadline

    def leave(self) -> None:
        self._stop_text()
        self._wire.leave(self._reactor, self._timeouts.quit)

    # -- what happens on the wire

    def _open(self) -> None:
        if self.tls and not self.approach.implicit:
            self._wire.write(self._conversation.secured())
            self._await_reply()
            return
        if not self.name:
            self._conversation = self._converse(_literal(self.bound))
        self._wait("banner")

    def _converse(self, name: str) -> Conversation:
        approach, manner = self.approach, self._manner
        return Conversation(
            name,
            approach.starttls,
            approach.implicit,
            manner.chunking,
            choose=manner.choose,
            lmtp=manner.lmtp,
            minutes=self._minutes,
        )

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
            self._tell_tls("starttls-not-supported")
            if self.approach.required and not self._conversation.keeps_tls:
                self._over(unfit(f"{UNSUPPORTED} The message requires TLS all the way, and {_LACKS}").without_reuse())
            else:
                self._ready()
        else:
            self._stop_text()
            self._over(event)

    def lost(self, reason: str) -> None:
        self._over(self._conversation.lost(reason))

    # -- the text

    def carry(self, data: bytes) -> None:
        self._wait("body")
        self._wire.write(self._conversation.text(data))

    def may_end(self) -> bool:
        return self._conversation.settled and super().may_end()

    def end(self, data: bytes) -> None:
        self._text = None
        self._wire.write(self._conversation.end(data))
        self._await_reply()

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

    @property
    def _awaits_reply(self) -> bool:
        return not self._conversation.settled

    def _unanswered(self) -> None:
        self._over(self._conversation.timed_out(getattr(self._timeouts, self._stage)))

    def _over(self, ending: Ending) -> None:
        """The conversation or its transaction has ended."""
        failure = of_ending(ending)
        if failure is not None:
            self._tell_tls(failure, ending.text)
        self._end(ending)


def _literal(address: str) -> str:
    """An address as a domain (RFC 5321 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
