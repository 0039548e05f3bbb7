"""What clients write on their mail to find it by: tenant, tags, metadata. Here they are held to their bounds.

A tenant, a tag and a name of metadata are 1 to 64 characters of letters, digits and `. _ : + -`, which stand for
themselves wherever they are shown or looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: Tags of one message, and what one has at most (characters).
MOST_TAGS = 10
LONGEST = 64
#: Entries of metadata, and what a value has at most (characters).
MOST_METADATA = 20
LONGEST_VALUE = 512
#: The same as a pattern for those who describe fields. A `$` alone would let a line end through.
PATTERN = rf"^[A-Za-z0-9._:+-]{{1,{LONGEST}}}(?!\n)$"

_is_label = re.compile(rf"[A-Za-z0-9._:+-]{{1,{LONGEST}}}").fullmatch
_CHARACTERS = f"1 to {LONGEST} letters, digits and . _ : + -"


def tags_of(values: Iterable[str]) -> tuple[str, ...]:
    """The tags in header fields, with commas between them. Raises ValueError."""
    return checked_tags(tag for value in values for tag in map(str.strip, value.split(",")) if tag)


def checked_tags(given: Iterable[str]) -> tuple[str, ...]:
    """Each tag once, in the order in which they were given. Raises ValueError."""
    tags: dict[str, None] = {}
    for tag in given:
        if not _is_label(tag):
            raise ValueError(f"a tag is {_CHARACTERS}")
        tags[tag] = None
        if len(tags) > MOST_TAGS:
            raise ValueError(f"more than {MOST_TAGS} tags")
    return tuple(tags)


def checked_tenant(tenant: str) -> str:
    """The tenant, "" for nobody's. Raises ValueError."""
    if tenant and not _is_label(tenant):
        raise ValueError(f"a tenant is {_CHARACTERS}")
    return tenant


def checked_metadata(given: Mapping[str, str]) -> dict[str, str]:
    """Names and values, these of printable characters. Raises ValueError."""
    if len(given) > MOST_METADATA:
        raise ValueError(f"more than {MOST_METADATA} entries of metadata")
    for name, value in given.items():
        if not _is_label(name):
            raise ValueError(f"a name of metadata is {_CHARACTERS}")
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise ValueError(f"a value of metadata is up to {LONGEST_VALUE} printable characters")
    return dict(given)
