"""rspamd, unpacked by `make peers`, with a place of its own: its opinion of how a message is written.

It has rules and scores of its own for headers, MIME parts and their encodings. What asks the network, what learns, and
what judges which letters stand together is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path

from bench.network import free_ports
from bench.proctree import ProcessTree
from tests.scenario.interop import ROOT, absent

_HOME = ROOT / ".peers/rspamd"
_PROGRAM = _HOME / "usr/bin/rspamd"
_PLUGINS = ("mime_types", "mid", "forged_recipients")


class Rspamd:
    """One scanner on a free port of 127.0.0.1."""

    def __init__(self, directory: str) -> None:
        """Raises what says that there is no rspamd."""
        if not _PROGRAM.exists():
            raise absent("rspamd")
        self._folder = Path(directory, "rspamd")
        self._folder.mkdir()
        (self.port,) = free_ports(1)
        self._log = self._folder / "out"
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It takes some tenths of a second until it is ready."""
        shared, place = _HOME / "usr/share/rspamd", str(self._folder)
        # All suffixes of domains take it a minute to learn.
        (self._folder / "suffixes").write_text("com\norg\nexample\ntest\n")
        config = self._folder / "rspamd.conf"
        config.write_text(self._config())
        places = {
            "CONFDIR": f"{_HOME}/etc/rspamd",
            "SHAREDIR": str(shared),
            "PLUGINSDIR": f"{shared}/plugins",
            "RULESDIR": f"{shared}/rules",
            "LUALIBDIR": f"{shared}/lualib",
            "WWWDIR": f"{shared}/www",
            **dict.fromkeys(("LOCAL_CONFDIR", "RUNDIR", "DBDIR", "LOGDIR"), place),
        }
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                # In front, and as whoever runs the test.
                [str(_PROGRAM), "-f", "-i", "-c", str(config), *(f"--var={name}={at}" for name, at in places.items())],
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": f"{_HOME}/usr/lib/rspamd"},
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _config(self) -> str:
        plugins = ", ".join(f'"$PLUGINSDIR/{name}.lua"' for name in _PLUGINS)
        modules = "\n".join(f'.include "$CONFDIR/modules.d/{name}.conf"' for name in _PLUGINS)
        return f"""lua = "$RULESDIR/rspamd.lua";
.include "$CONFDIR/metrics.conf"
.include "$CONFDIR/actions.conf"
.include "$CONFDIR/groups.conf"
.include "$CONFDIR/composites.conf"
{modules}
modules {{ path = [{plugins}]; }}
options {{
    filters = "regexp";
    url_tld = "$RUNDIR/suffixes";
    tempdir = "$RUNDIR";
    hs_cache_dir = "$RUNDIR";
    cache_file = "$RUNDIR/symbols";
    control_socket = "$RUNDIR/control mode=0600";
    pidfile = "$RUNDIR/pid";
    disable_hyperscan = true;
    # Nobody answers there.
    dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{self.port}"; count = 1; }}
"""

    @property
    def ready(self) -> bool:
        """It answers."""
        if self._running is None or self._running.poll() is not None:
            raise AssertionError(f"rspamd has ended: {self._log.read_text()[-2000:]}")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """At once."""
        if self._running is not None:
            ProcessTree(self._running.pid).kill()
            self._running.wait()

    def opinion(self, text: bytes, sender: str, recipients: Sequence[str]) -> dict[str, float]:
        """What it finds in a message and its envelope, and what each costs; 0 and below is nothing bad. Blocks."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest("POST", "/checkv2")
            connection.putheader("Content-Length", str(len(text)))
            connection.putheader("From", sender)
            for one in recipients:
                connection.putheader("Rcpt", one)
            connection.endheaders(text)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200 or said["is_skipped"]:
            raise AssertionError(f"rspamd has no opinion: {said}")
        # Not "score": of several it counts no more than the bound of their group.
        return {name: found["metric_score"] for name, found in said["symbols"].items()}
