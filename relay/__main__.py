"""`python -m relay ...` is `zonerelay ...`, for where the script is not installed."""

from __future__ import annotations

import sys

from relay.tap import console

if __name__ == "__main__":
    sys.exit(console())
