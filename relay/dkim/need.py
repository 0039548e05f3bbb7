"""Whether the body of a message is worth a hash: it is when a key may sign the message."""

from __future__ import annotations

from relay.dkim.keys import KeyIndex
from relay.message.headers import HeaderBlock


def is_hashed(keys: KeyIndex, block: HeaderBlock) -> bool:
    """Whether a key may sign a message with this header."""
    domain = domain_at_a_glance(block.get("From") or "")
    # Without a domain to go by here it is the sender's that signs, and who that is is told at the end.
    return keys.may_sign(domain) or (not _is_plain(domain) and keys.any())


def domain_at_a_glance(field: str) -> str:
    """The domain of the last address in a From field, as far as a glance tells: it picks
    a zone or a key, it is never mailed to. "" when there is no address."""
    _, at, rest = field.rpartition("@")
    return rest.partition(">")[0].strip().lower() if at else ""


def _is_plain(domain: str) -> bool:
    """Whether a glance has found a domain and nothing else."""
    return domain.replace("-", "").replace(".", "").isalnum()
