"""Row K05 at length: receivers of two makes verify what is signed of more odd messages than anybody will look at."""

from __future__ import annotations

from tests.unit import test_dkim_verified


class Verified(test_dkim_verified.Verified):
    """Of each of four forms so many, by each verifier."""

    dkimpy_messages = 5_000
    opendkim_messages = 5_000
