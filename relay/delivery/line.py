"""One connection to one host, as far as it is the same whatever is spoken on it: dialling, the handshake, and how long
each thing may take.

What is said on it is told by those that stand on it, `call` and `post`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from twisted.internet.defer import Deferred

from relay.config.schema import Timeouts
from relay.delivery.contact import Caller
from relay.delivery.exchangers import Host
from relay.delivery.proof import Proof, prove
from relay.delivery.security import Approach
from relay.delivery.text import Text
from relay.delivery.tls_result import TlsFailure, TlsResult
from relay.delivery.wire import Wire
from relay.message.values import Result
from relay.net.client_tls import ClientTls, Handshake, TlsUnusable
from relay.smtp.ending import Ending
from relay.smtp.introduction import Tls

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: A peer that lets us wait for this long is quiet (seconds).
QUIET_AFTER = 0.5

NEVER = float("inf")


class Line:
    """See the module; what is public is told in `contact.Contact`, `wire.Owner` and `text.Carrier`."""

    __slots__ = (
        "_caller", "_client_tls", "_handshake", "_now", "_proof", "_reactor", "_reported", "_stage", "_text",
        "_timeouts", "_wire", "approach", "bound", "deadline", "host", "local_address", "name", "quiet_at", "tls",
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
    ) -> None:
        """The stages of `timeouts` are those of endings; `now` is the clock of the deadlines."""
        self.host = host
        self.name = name
        self.local_address = local_address
        self.approach = approach
        self.bound = self.tls = ""
        self.deadline = self.quiet_at = NEVER
        self._caller = caller
        self._reactor = reactor
        self._timeouts = timeouts
        self._now = now
        self._client_tls = client_tls
        self._handshake: Handshake | None = None
        self._proof = Proof(approach)
        tried = approach.implicit or approach.starttls is not Tls.NEVER
        self._reported = approach.reported if tried else None
        self._wire = Wire(self)
        self._stage = ""
        self._text: Text | None = None

    # -- what those that stand on it say

    @property
    @abstractmethod
    def in_dot(self) -> bool:
        """See `Contact`."""

    @property
    @abstractmethod
    def _awaits_reply(self) -> bool:
        """It is for the host to say something; else the text is under way, or nothing is."""

    @abstractmethod
    def _open(self) -> None:
        """The connection stands, and is as safe as it has to be by now: say or await what comes first."""

    @abstractmethod
    def _unanswered(self) -> None:
        """The deadline is over, and it was for the host to say something."""

    @abstractmethod
    def received(self, data: bytes) -> None: ...

    @abstractmethod
    def lost(self, reason: str) -> None: ...

    @abstractmethod
    def carry(self, data: bytes) -> None: ...

    @abstractmethod
    def end(self, data: bytes) -> None: ...

    # -- asking

    def satisfies(self, need: Approach) -> bool:
        """See `Proof`."""
        return self._proof.satisfies(need)

    # -- orders

    def dial(self, port: int) -> None:
        self._wait("connect")
        # The deadline rules; the reactor's own time-out only stands behind it.
        backstop = 2 * self._timeouts.connect
        self._wire.dial(self._reactor, self.host.address, port, self.local_address, backstop)

    def resume(self) -> None:
        if self._text is not None:
            self._text.resume()

    def rest(self, seconds: float) -> None:
        self.deadline = self._now() + seconds
        self.quiet_at = NEVER

    def hurry(self, seconds: float) -> None:
        self.deadline = min(self.deadline, self._now() + seconds)

    def drop(self) -> None:
        self._stop_text()
        self._wire.drop()

    def expired(self) -> None:
        stage = self._stage
        seconds = getattr(self._timeouts, stage)
        if stage == "connect":
            self._failed(stage, f"No connection within {seconds:g} s", "network")
        elif stage == "tls" and self._handshake is not None:
            self._failed(stage, f"No TLS handshake within {seconds:g} s", "network")
        elif self._awaits_reply:
            self._unanswered()
        elif self._text is not None and self._text.lacking:
            self._failed(stage, f"The text was not to be had for {seconds:g} s", "ours")
        else:
            self._failed(stage, f"The host took nothing for {seconds:g} s", "network")

    # -- what happens on the wire

    def connected(self) -> None:
        self.bound = self._wire.local_address
        if self.approach.implicit:
            self._start_tls()
        else:
            self._open()

    def unconnected(self, reason: str, ours: bool) -> None:
        self._failed("connect", reason, "ours" if ours else "network")

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
        self._open()

    def unsecured(self, reason: str) -> None:
        self._failed("tls", f"TLS handshake failed: {reason}", "tls")

    def gone(self) -> None:
        self._caller.gone()

    # -- the text

    def fetch(self, number: int) -> Deferred[bytes]:
        self._caller.heard()
        self._wait("body")
        self.quiet_at = NEVER
        return self._caller.chunk(number)

    def may_end(self) -> bool:
        may = self._caller.may_end()
        if not may:
            self._wait("body")
            self.quiet_at = NEVER
        return may

    def cut(self, reason: str) -> None:
        # Without its end the host takes nothing.
        self._failed("body", reason, "ours")

    def _stop_text(self) -> None:
        text, self._text = self._text, None
        if text is not None:
            text.stop()

    # -- inside

    def _start_tls(self) -> None:
        self._wait("tls")
        try:
            self._handshake = self._client_tls.to(self.approach.called(self.host.name), self.approach.permissive)
        except TlsUnusable as error:
            self._failed("tls", str(error), "ours")
        else:
            self._wire.start_tls(self._handshake)

    def _tell_tls(self, failure: TlsFailure | Literal[""], text: str = "") -> None:
        """Once for a connection: the first that is known counts."""
        policy, self._reported = self._reported, None
        if policy is not None:
            if self.approach.flaw and not failure:
                failure, text = "validation-failure", self.approach.flaw
            self._caller.tls(TlsResult(policy, failure, text, self.host.name, self.bound, self.host.address))

    def _wait(self, stage: str) -> None:
        now = self._now()
        self._stage = stage
        self.deadline = now + getattr(self._timeouts, stage)
        self.quiet_at = now + QUIET_AFTER

    def _ready(self) -> None:
        """A message may begin; until then nothing is waited for."""
        self.deadline = self.quiet_at = NEVER
        self._caller.ready()

    def _failed(self, stage: str, reason: str, category: str) -> None:
        if stage == "tls" and category != "ours":
            self._tell_tls("validation-failure", reason)
        self._end(Ending(Result.DEFERRED, stage, reason, category=category, doubtful=self.in_dot))

    def _end(self, ending: Ending) -> None:
        self._caller.ended(ending)
