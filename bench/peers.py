"""How to start each relay of the rig: a configuration below a directory, a command, no state from before."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import IO

from bench import network
from bench.certificate import self_signed, signing_key

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Place:
    """Where a relay of the rig lives and listens, and where it sends to."""

    state: str
    port: int
    sink: int
    api: int = 0
    channel: int = 0
    options: dict[str, str] = field(default_factory=dict)
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tls(self) -> str:
        """off, starttls or implicit."""
        return self.options.get("tls", "off")

    @property
    def dkim(self) -> str:
        """rsa or ed25519; "" when nothing is signed."""
        return self.options.get("dkim", "")

    @property
    def tls_out(self) -> bool:
        """Whether the sink speaks TLS, and the relay has to."""
        return self.options.get("tls_out") == "on"


def write(path: str, text: str) -> None:
    """A file with this text, its folders made first."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def zonerelay_command(config: str) -> list[str]:
    """The relay in the foreground, run by the Python (or that of the venv in ZR_BIN) that runs this."""
    folder = os.environ.get("ZR_BIN")
    return [f"{folder}/python" if folder else sys.executable, "-m", "relay", "run", "--config", config]


def environment(**more: str) -> dict[str, str]:
    """Ours, with the repository's code first."""
    path = os.pathsep.join(filter(None, [REPOSITORY, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}


_LIMITS = """new_connections = ["900000/s"]
messages = ["900000/s", "900000000/h"]
bytes = ["900GB/s"]"""


def _of_addresses(limits: str) -> str:
    """The same limits for each address of a zone."""
    return f"address = {{ max_connections = 1000, {', '.join(limits.splitlines())} }}" if limits else ""


def zonerelay_config(place: Place) -> str:
    """The relay's configuration for a measurement: a fixed next hop, 20 connections, synced.
    `limits=on` gives every scope limits of each kind that are never reached, `events=off` has none kept. `options` may
    also change sync, processes (receivers), senders, connections, reuse (a connection is kept without end, as Postfix
    keeps its own), domain_connections, max_size, max_recipients, tls and nameserver, and add text to sections (queue,
    listener) and at the end (extra)."""
    o = place.options
    tls = ""
    if place.tls != "off":
        certificate, key = self_signed(place.state)
        tls = f'tls = "{place.tls}"\ncertificate = "{certificate}"\nkey = "{key}"'
    limits = _LIMITS if o.get("limits") == "on" else ""
    everywhere = f"[sites.default]\nmax_connections = 1000\n{limits}\n[senders.default]\n{limits}" if limits else ""
    hop = "" if "nameserver" in o else 'host = "127.0.0.1"'
    hop += '\ntls = "must"' if place.tls_out else ""
    dkim = f'[dkim]\nkeys = "{os.path.dirname(signing_key(place.state, place.dkim))}"' if place.dkim else ""
    events = '[events]\nkeep = "0s"' if o.get("events") == "off" else ""
    return f"""hostname = "relay.test"
[queue]
path = "{place.state}/queue"
sync = {o.get("sync", "true")}
{o.get("queue", "")}
[listeners.feeder]
endpoint = "tcp:{place.port}:interface=127.0.0.1"
max_size = "{o.get("max_size", "1GB")}"
max_recipients = {o.get("max_recipients", "1000")}
processes = {o.get("processes", "0")}
{tls}
{o.get("listener", "")}
[api]
endpoint = "tcp:{place.api}:interface=127.0.0.1"
[channel]
endpoint = "tcp:{place.channel}:interface=127.0.0.1"
[dns]
nameservers = ["{o.get("nameserver", "127.0.0.1:53")}"]
[pools]
default = [{{ address = "0.0.0.0", name = "relay.test" }}]
[zones.default]
pool = "default"
{hop}
port = {place.sink}
block_local_addresses = false
processes = {o.get("senders", "1")}
connections = {o.get("connections", "20")}
reuse = {o.get("reuse", "1000000")}
{limits}
{_of_addresses(limits)}
[domains.default]
max_connections = {o.get("domain_connections", "1000")}
{limits}
{everywhere}
{dkim}
{events}
{o.get("extra", "")}
"""


def zonerelay(place: Place, log: IO[bytes]) -> subprocess.Popen[bytes]:
    write(f"{place.state}/zonerelay.toml", zonerelay_config(place))
    return subprocess.Popen(
        zonerelay_command(f"{place.state}/zonerelay.toml"),
        cwd=place.state,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def postfix(place: Place, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """An own Postfix beside the system's: its defaults, minus what needs DNS or TLS."""
    state = place.state
    etc = f"{state}/etc"
    daemons = subprocess.run(["postconf", "-h", "daemon_directory"], capture_output=True, text=True)
    directory = daemons.stdout.strip() or "/usr/lib/postfix/sbin"
    tls = "smtpd_tls_security_level = none"
    if place.tls != "off":
        certificate, key = self_signed(state)
        wrapped = "yes" if place.tls == "implicit" else "no"
        tls = (
            f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {certificate}\n"
            f"smtpd_tls_key_file = {key}\nsmtpd_tls_wrappermode = {wrapped}"
        )
    outgoing = "smtp_tls_security_level = none"
    if place.tls_out:
        outgoing = "smtp_tls_security_level = encrypt\nsmtp_tls_connection_reuse = yes"
    milter = f"smtpd_milters = {opendkim(place, log)}" if place.dkim else ""
    settings = f"""compatibility_level = 3.6
queue_directory = {state}/spool
data_directory = {state}/data
command_directory = {os.path.dirname(shutil.which("postfix") or "/usr/sbin/postfix")}
daemon_directory = {directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{place.sink}
{outgoing}
{milter}
{tls}
default_process_limit = 100
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [127.0.0.1]:{place.sink}
smtp_connection_reuse_count_limit = 0
message_size_limit = 0
mailbox_size_limit = 0
maillog_file = {state}/mail.log
maillog_file_prefixes = {os.path.dirname(state)}
default_database_type = hash
address_verify_map =
{place.options.get("extra", "")}
"""
    # Each once, the last wins: it warns of a second one, and its logger, warning itself, fills the queue that it
    # is to empty, and stands still.
    lines = [line.partition("=") for line in settings.splitlines() if line]
    once = {name.strip(): value.strip() for name, _, value in lines}
    write(f"{etc}/main.cf", "".join(f"{name} = {value}\n" for name, value in once.items()))
    services = []
    with open("/etc/postfix/master.cf") as file:
        for line in file.read().split("\n"):
            columns = line.split()
            if line.startswith("smtp ") and " inet" in line:
                line = f"127.0.0.1:{place.port} inet n - n - - smtpd"
            elif line and not line[0].isspace() and not line.startswith("#") and len(columns) >= 8:
                columns[4] = "n"  # no chroot
                line = " ".join(columns)
            services.append(line)
    text = "\n".join(services)
    if place.tls_out and not any(line.startswith("tlsproxy") for line in services):
        text += "\ntlsproxy unix - - n - 0 tlsproxy\n"
    write(
        f"{etc}/master.cf", text if "postlogd" in text else text + "\npostlog unix-dgram n - n - 1 postlogd\n"
    )
    for name in ("dynamicmaps.cf", "postfix-script", "post-install", "postfix-files"):
        if os.path.exists(f"/etc/postfix/{name}"):
            shutil.copy(f"/etc/postfix/{name}", etc)
    os.makedirs(f"{state}/spool")
    os.makedirs(f"{state}/data")
    user = pwd.getpwnam("postfix")
    os.chown(f"{state}/data", user.pw_uid, user.pw_gid)
    subprocess.run(["postfix", "-c", etc, "check"], stdout=log, stderr=log)
    return subprocess.Popen(
        [f"{directory}/master", "-c", etc, "-s"],
        cwd=state,
        env=environment(MAIL_CONFIG=etc, MAIL_LOGTAG="postfix"),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def opendkim(place: Place, log: IO[bytes]) -> str:
    """A signer beside Postfix, as most have it, with a key for the sender's domain; where it listens."""
    port = network.free_ports(1)[0]
    key = signing_key(place.state, place.dkim)
    shutil.chown(key, "opendkim")
    configuration = f"{place.state}/opendkim.conf"
    write(
        configuration,
        f"Domain src.test\nSelector bench\nKeyFile {key}\nSocket inet:{port}@127.0.0.1\nMode s\n"
        "Canonicalization relaxed/relaxed\nInternalHosts 127.0.0.1\nUserID opendkim\nOversignHeaders From\n"
        "SignatureAlgorithm rsa-sha256\nSyslog no\nRequireSafeKeys no\n",
    )
    command = ["opendkim", "-f", "-x", configuration]
    place.helpers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    return f"inet:127.0.0.1:{port}"


def sink(place: Place, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """No relay at all: the source speaks to the sink, which is what loopback itself allows."""
    return start_sink(place.port, log, log)


def start_sink(port: int, out: IO[bytes], log: IO[bytes], tls: str = "") -> subprocess.Popen[bytes]:
    """Postfix's smtp-sink, or ours where there is none, or where it is to speak TLS with a certificate in the folder
    `tls`. Both write `mesg=N` and a CR as they count."""
    if tls:
        certificate, key = self_signed(tls)
        command = [sys.executable, "-m", "bench.sink", "--port", str(port), "--certificate", certificate, "--key", key]
    elif shutil.which("smtp-sink"):
        command = [
            "smtp-sink",
            *(["-u", "nobody"] if os.geteuid() == 0 else []),
            "-c",
            f"127.0.0.1:{port}",
            "1024",
        ]
    else:
        command = [sys.executable, "-m", "bench.sink", "--port", str(port)]
    return subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=log)


def source_command(place: Place, sessions: int, count: int, size: int, keep: bool) -> list[str]:
    """Postfix's smtp-source, or ours where there is none, or where TLS or a login is to be spoken, or
    where `options` ask for it by source=own. `keep`: many messages per connection."""
    o = place.options
    own = not shutil.which("smtp-source") or place.tls != "off" or "user" in o or o.get("source") == "own"
    command = [sys.executable, "-m", "bench.source", "--wait", "--tls", place.tls] if own else ["smtp-source"]
    if "user" in o:
        command += ["--user", o["user"], "--password", o.get("password", "")]
    return [
        *command,
        "-s",
        str(min(sessions, count)),
        "-m",
        str(count),
        "-l",
        str(size),
        "-f",
        "sender@src.test",
        "-t",
        "rcpt@remote.test",
        *(["-d"] if keep else []),
        f"127.0.0.1:{place.port}",
    ]


STARTERS = {"zonerelay": zonerelay, "postfix": postfix, "sink": sink}


def available(peer: str) -> str:
    """Why a peer can't run here; "" when it can."""
    if peer != "postfix":
        return ""
    if not shutil.which("postfix") or not os.path.exists("/etc/postfix/master.cf"):
        return "Postfix isn't installed"
    return "" if os.geteuid() == 0 else "Postfix needs root"
