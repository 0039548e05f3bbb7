"""Readers of mail that others wrote, as programs to be asked."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from tests.peers.mailserver import ROOT

MAILPARSER = ROOT / ".peers/mailparser/node_modules/mailparser"


def seen(node: str, messages: Sequence[bytes]) -> list[dict[str, Any]]:
    """What mailparser makes of messages (see mailparser.js). Blocks."""
    script = str(ROOT / "tests/peers/mailparser.js")
    given = json.dumps({"module": str(MAILPARSER), "messages": [b64encode(one).decode() for one in messages]})
    done = subprocess.run([node, script], input=given.encode(), capture_output=True, timeout=30, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
