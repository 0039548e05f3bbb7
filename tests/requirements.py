"""Prints what setup.cfg requires, one per line; with words, what those extras require too."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

setup = configparser.ConfigParser()
setup.read(Path(__file__).parents[1] / "setup.cfg")
print(setup["options"]["install_requires"].strip())
for extra in sys.argv[1:]:
    print(setup["options.extras_require"][extra].strip())
