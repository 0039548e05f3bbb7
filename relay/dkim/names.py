"""What keys are called: the file `{domain}.{selector}.pem`, and the record that belongs to it.

A name that isn't strictly a domain and a selector is no key's, so that no name leads out of the
directory of keys, and none breaks the header field, the record or the log it is put in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ENDING = ".pem"
#: Longest name in the DNS (characters, RFC 1035 2.3.4).
_LONGEST = 253
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_domain = re.compile(rf"{_LABEL}(?:\.{_LABEL})*").fullmatch
_selector = re.compile(_LABEL).fullmatch


class KeyName(NamedTuple):
    """Whose key it is, and the file in the directory of keys, spelled as it is there."""

    domain: str
    selector: str
    file: str

    @property
    def record(self) -> str:
        """Where the DNS has its public half (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def key_name(domain: str, selector: str) -> KeyName:
    """The key of a domain (in A-labels) with this selector, one label. Raises ValueError with the reason."""
    domain, selector = domain.lower(), selector.lower()
    if not is_domain(domain):
        raise ValueError("the domain is none: expected one such as example.com, in ASCII (xn--...)")
    if _selector(selector) is None:
        raise ValueError("the selector is none: expected letters, digits and hyphens, such as 2026a")
    name = KeyName(domain, selector, f"{domain}.{selector}{_ENDING}")
    if len(name.record) > _LONGEST:
        raise ValueError("domain and selector together are too long for the DNS")
    return name


def of_file(file: str) -> KeyName | None:
    """Whose key the file of this name is; None when it is nobody's."""
    if not file.endswith(_ENDING):
        return None
    domain, _, selector = file[: -len(_ENDING)].lower().rpartition(".")
    try:
        return key_name(domain, selector)._replace(file=file)
    except ValueError:
        return None


def is_domain(text: str) -> bool:
    """Whether it can stand in `d=`: lower case, A-labels, no dot at the end."""
    return len(text) <= _LONGEST and _domain(text) is not None
