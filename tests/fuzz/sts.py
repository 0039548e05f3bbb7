"""What domains write about how safe their mail has to come: a record, a policy, or nothing."""

from __future__ import annotations

from relay.delivery.sts import policy as policies
from relay.delivery.sts.policy import MAX_AGE, BadPolicy, Mode, parse, record_id
from tests.fuzz.choices import bit, bound, head, long


def sts_record(data: bytes) -> None:
    """Texts, cut at NULs: an id of letters and digits, or none."""
    texts = [text.decode("ascii", "replace") for text in long(data).split(b"\0")]
    found = record_id(texts)
    if found is not None:
        assert found.isascii() and found.isalnum() and len(found) <= 32
        assert record_id([f"v=STSv1; id={found};"]) == found
        assert record_id([*texts, f"v=STSv1; id={found}"]) is None


@bound(policies, "MOST_MX", 4)
def sts_policy(data: bytes) -> None:
    """A policy within its bounds that is the same when it is written and read again, whatever its line ends; it allows
    the hosts it names, and of what a pattern names exactly one label more."""
    (options,), rest = head(data, 1)
    text = long(rest, policies.LARGEST + 1)
    if bit(options, 0):
        text = b"version: STSv1\nmode: enforce\nmax_age: 1\n" + text
    try:
        found = parse(text)
    except BadPolicy as error:
        assert str(error).isprintable()
        return
    assert 0 <= found.max_age <= MAX_AGE and len(found.mx) <= 4 and (found.mx or found.mode is Mode.NONE)
    for end in ("\n", "\r\n", " \n\n"):
        assert parse(end.join(found.lines()).encode()) == found
    for mx in found.mx:
        name = mx.removeprefix("*.")
        assert found.allows(mx.replace("*", "a")) and found.allows(mx.replace("*", "a").upper() + ".")
        if len(found.mx) == 1:
            assert found.allows(name) == (name == mx)
            assert not found.allows("a.b." + name) and not found.allows("." + name) and not found.allows("x" + name)
