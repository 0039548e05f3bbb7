"""Whose mail it is, by which the signing domain is chosen."""

from __future__ import annotations

import re

from relay.dkim.names import is_domain
from relay.message.addresslist import parse_list
from relay.message.headers import HeaderBlock

#: More authors than this are not told apart.
_MOST = 20
#: Longest From that is looked at (characters).
_LONGEST = 16 * 1024
#: The one address there can be, whatever the words before it mean: often a name with a comma and no quotes.
#: A domain beyond ASCII is for the parser, and so is one beside which there could be others.
_sole = re.compile(r'[^<>@]*<[^<>@"()\s]+@([A-Za-z0-9._-]+)>\s*').fullmatch


def author_domain(block: HeaderBlock, sender: str) -> str:
    """The domain that answers for a message: that of all its authors, as the From fields name them; where they
    name nobody that of `sender`, the envelope's. "" when there is none, or it isn't certain: a signature for a
    domain that the reader isn't shown would be worth little, one for a domain by mistake much."""
    written = ", ".join(value for value in block.all("From") if value)
    if len(written) > _LONGEST:
        return ""
    sole = _sole(written)
    if sole is not None:
        domains = {sole[1].lower()}
    else:
        try:
            authors = parse_list(written, _MOST, utf8=True)
        except ValueError:
            return ""
        domains = {author.domain for author in authors}
        if not authors and "@" in sender:
            domains = {sender.rpartition("@")[2].lower()}
    domain = domains.pop() if len(domains) == 1 else ""
    return domain if is_domain(domain) else ""
