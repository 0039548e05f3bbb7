"""The API held against its own document at length.

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

from tests.scenario import test_openapi as openapi


class PromisesAtLength(openapi.Promises):
    """With all that can stand in a mail object, and requests that follow from the answers of others."""

    timeout = 3600
    examples = 100
    thorough = True
