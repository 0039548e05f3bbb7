"""Which host an attempt calls next, and what is said of those that were of no use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec.structs

from relay.delivery.ways import Way
from relay.message.values import Result
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.contact import Contact


class Route:
    """The way of one attempt. True while there is a host left.

    Attributes:
        failure: of the hosts that were called the one whose ending counts, and that; None before the first.
    """

    __slots__ = ("_left", "failure")

    def __init__(self) -> None:
        self._left: list[Way] = []
        self.failure: tuple[Ending, Contact] | None = None

    def __bool__(self) -> bool:
        return bool(self._left)

    def lead(self, ways: Iterable[Way]) -> None:
        """To these and no others, in their order."""
        self._left = list(ways)

    @property
    def upcoming(self) -> str:
        """The address of the host that is next."""
        return self._left[0].host.address

    def next(self) -> Way:
        """Who is called now, and how."""
        return self._left.pop(0)

    def keep_to(self, address: str) -> None:
        """From now on only to hosts of the same kind of address, for which alone the delivery counts."""
        six = ":" in address
        self._left = [way for way in self._left if (":" in way.host.address) == six]

    def failed(self, ending: Ending, call: Contact) -> tuple[Ending, Contact]:
        """A host didn't let us get as far as MAIL. Returns the failure that counts: of several the last one, but one
        of ours for more, and what a host has said for most; that one host would never do for the message for less than
        anything that may be otherwise the next time."""
        ending = call.approach.explained(ending)
        if self.failure is None or _outweighs(ending, self.failure[0]):
            self.failure = ending, call
        if ending.category == "auth" and ending.code >= 500:
            # Its other addresses know us no better, and count the guesses.
            self._left = []
        if ending.category == "ours":
            # The local address is of no use: only hosts that are called from the other one are left.
            six = ":" in call.host.address
            self._left = [way for way in self._left if (":" in way.host.address) != six]
        again = call.approach.after(ending)
        if again is not None:
            self._left.insert(0, Way(call.host, again))
        return self.failure

    def given_up(self) -> tuple[Ending, Contact]:
        """The failure that counts when hosts are left that nobody has the patience to call: it is not the last."""
        assert self.failure is not None
        failure, call = self.failure
        if failure.result is not Result.BOUNCED:
            return failure, call
        # It begins with the status that was to be final.
        return msgspec.structs.replace(failure, result=Result.DEFERRED, text=f"4{failure.text[1:]}"), call

    def blocked(self, seconds: float) -> tuple[Ending, Contact | None]:
        """The failure that counts when leave to call a further host doesn't come. Unless a host has said something it
        isn't known whether any would have answered."""
        failure, call = self.given_up() if self.failure else (None, None)
        if failure is None or not failure.code:
            before = "" if failure is None else f"{failure.text}; "
            text = f"{before}no leave to call another host within {seconds:g} s"
            failure = Ending(Result.DEFERRED, "connect", text, category="ours")
        return failure, call


def _outweighs(ending: Ending, other: Ending) -> bool:
    """Whether a failure counts that came behind another one."""
    if (ending.result is Result.BOUNCED) is not (other.result is Result.BOUNCED):
        return other.result is Result.BOUNCED
    return bool(ending.code) or not (other.code or other.category == "ours")
