"""Whether the body of a message is worth a hash: it is when a key may sign the message."""

from __future__ import annotations

from relay.config.schema import Dkim
from relay.dkim.keys import KeyIndex
from relay.message.headers import HeaderBlock


def is_hashed(keys: KeyIndex, block: HeaderBlock, options: Dkim) -> bool:
    """Whether a key may sign a message with this header, and the body in relaxed form."""
    if not options.canonicalization.endswith("/relaxed"):
        return False
    domain = domain_at_a_glance(block.get("From") or "")
    if keys.may_sign(domain):
        return True
    # Without a domain to go by here it is the sender's that signs, and who that is is told at the end;
    # and who may sign everything is told by the way it goes out.
    return (options.sign_transport_domain or not is_plain(domain)) and keys.any()


def domain_at_a_glance(field: str) -> str:
    """The domain of the last address in a From field, as far as a glance tells: it picks
    a zone or a key, it is never mailed to. "" when there is no address."""
    _, at, rest = field.rpartition("@")
    return rest.partition(">")[0].strip().lower() if at else ""


def is_plain(domain: str) -> bool:
    """Whether a glance has found a domain in A-labels and nothing else."""
    return domain.isascii() and domain.replace("-", "").replace(".", "").replace("_", "").isalnum()
