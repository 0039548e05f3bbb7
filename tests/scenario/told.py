"""What the mail log has told of attempts, read back."""

from __future__ import annotations

import json
import re

_STEP = re.compile(r"\S+Z (delivered|deferred|bounced) id=")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


def attempts(said: str) -> list[dict[str, str]]:
    """The fields of each line that ends an attempt, in order; `result` is how."""
    found = []
    for line in said.splitlines():
        step = _STEP.match(line)
        if step:
            fields = dict(_FIELD.findall(line))
            fields = {key: json.loads(text) if text[0] == '"' else text for key, text in fields.items()}
            found.append({"result": step.group(1), **fields})
    return found
