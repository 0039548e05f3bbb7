"""How safe mail has to be on its way, and what a message says about that itself.

Zones and domains are given a word of TLS by the operator. A message may ask for one that is more, by its header where
that is believed; by TLS-Required it says that it had rather arrive than be safe (RFC 8689 3).
"""

from __future__ import annotations

from typing import Literal

Tls = Literal["none", "may", "must", "verify", "sts", "dane"]
#: From the least to the most (relay.delivery.security tells what each asks for).
WORDS: tuple[Tls, ...] = ("none", "may", "must", "verify", "sts", "dane")
#: Those that a message can ask for: what keeps nobody out is what it has anyway.
DEMANDS = WORDS[2:]
#: What a message is kept with that says TLS-Required: No.
NOT_REQUIRED = "no"

#: The fields in which it is said.
ASKED, REQUIRED = "X-Sending-TLS", "TLS-Required"

_RANKS: dict[str, int] = {word: rank for rank, word in enumerate(WORDS)}


def asked(words: tuple[str, ...], required: tuple[str, ...], require_tls: bool) -> str:
    """What a message is kept with: one of DEMANDS, NOT_REQUIRED, or "" when it leaves it to the zone.

    Args:
        words: the values of X-Sending-TLS, as far as they are believed.
        required: those of TLS-Required, which counts for nothing beside REQUIRETLS (RFC 8689 4.1), and beside a word
            that asks for more.
        require_tls: it was submitted with REQUIRETLS.

    Raises:
        ValueError: there are several words, or one that means nothing.
    """
    if words:
        word = words[0].strip().lower()
        if len(words) > 1 or word not in _RANKS:
            raise ValueError(f"expected one of {', '.join(WORDS)}, once")
        if word in DEMANDS:
            return word
    refused = not require_tls and bool(required) and all(value.strip().lower() == "no" for value in required)
    return NOT_REQUIRED if refused else ""


def holding(own: str, asked: str, require_tls: bool, fixed: bool) -> Tls:
    """The word that holds for a message: never less than that of zone and domain.

    Args:
        own: what these say.
        asked: what the message was kept with; what is none of DEMANDS asks for nothing.
        require_tls: it was submitted with REQUIRETLS (RFC 8689 4.2.1).
        fixed: it goes to a host that the operator names; there is nothing to prove about it but by its certificate.
    """
    rank = max(_RANKS[own], _RANKS.get(asked, 0), _RANKS["verify"] if require_tls else 0)
    return "verify" if fixed and rank > _RANKS["verify"] else WORDS[rank]


def is_heedless(holds: str, asked: str) -> bool:
    """Whether neither the domain nor its hosts are asked for what they want (RFC 8689 4.2.2). Where that is what the
    operator wants of them they are."""
    return asked == NOT_REQUIRED and _RANKS[holds] <= _RANKS["verify"]
