"""What a handshake proves of the host, and for which deliveries that is enough (RFC 7672 3, 8461 4.2)."""

from __future__ import annotations

from typing import NamedTuple

from relay.delivery.security import Approach, Policy
from relay.delivery.tls_result import of_certificate
from relay.net.client_tls import Handshake
from relay.net.dane import Doubt


class Proof(NamedTuple):
    """Of one connection, as it was made.

    Attributes:
        approach: how the host was called.
        worth: that of its certificate, in the words of the mail log: "untrusted", "trusted", "verified",
            "verified (sts)" or "dane"; "" in the clear.
        verified: it is the host's, says an authority that is trusted.
        matched: it is the one that the host's TLSA records ask for.
        doubt: what is wrong with it; None: nothing, as far as was looked.
        refused: why nothing may go to the host for that; "": it may.
    """

    approach: Approach
    worth: str = ""
    verified: bool = False
    matched: bool = False
    doubt: Doubt | None = None
    refused: str = ""

    def satisfies(self, need: Approach) -> bool:
        """Whether a delivery may go here that would have to be as safe as that on a new connection. What was called in
        the clear for want of something better is for one delivery alone, what was called with TLS that is no longer
        safe is for those that don't need any, what was called before TLSA records asked for what they ask now is
        for none, and what was called without asking for any is for those alone that don't."""
        if self.approach.clear:
            return False
        if need.policy is Policy.NONE:
            return True
        if need.dane != self.approach.dane or (self.approach.heedless and not need.heedless):
            return False
        if need.authority is not None:
            return self.matched
        if need.verified:
            return self.verified
        return not need.enforced or (bool(self.worth) and not self.approach.permissive)


def prove(handshake: Handshake, approach: Approach, host: str) -> Proof:
    """Look at the certificate as `approach` asks, once the handshake with `host` is done."""
    if approach.authority is not None:
        doubt = handshake.mismatch(approach.authority)
        if doubt is not None:
            return Proof(approach, doubt=doubt, refused=f"4.7.5 DANE with {host}: {doubt.text}")
        return Proof(approach, "dane", matched=True)
    worth, doubt = "untrusted" if handshake.error else "trusted", None
    if approach.verified or approach.tested:
        distrust = handshake.distrust()
        doubt = Doubt(of_certificate(handshake.error), distrust) if distrust else None
    if not approach.verified:
        return Proof(approach, worth, doubt=doubt)
    if doubt is not None:
        return Proof(approach, doubt=doubt, refused=f"4.7.5 TLS with {host}: {doubt.text}")
    return Proof(approach, "verified (sts)" if approach.policy is Policy.STS else "verified", verified=True)
