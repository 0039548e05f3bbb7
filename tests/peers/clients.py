"""Programs that others wrote as clients that log in over TLS: how each is told where, how and as whom.

The settings here are those that docs/access.md gives to users.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO, Any, NamedTuple

from bench import peers
from tests.peers.mailserver import EXIM, ROOT, Exim, Postfix

NODEMAILER = ROOT / ".peers/nodemailer/node_modules/nodemailer"


class Account(NamedTuple):
    """Where mail is handed over, and who does it. `mechanism` "" leaves it to the program."""

    port: int
    authority: str
    user: str
    password: str
    implicit: bool = False
    mechanism: str = ""
    certificate: str = ""
    host: str = "localhost"


def swaks(account: Account) -> list[str]:
    """Options of swaks."""
    words = ["--server", account.host, "--port", str(account.port), "--tls-verify", "--tls-ca-path", account.authority]
    words += ["--tls-on-connect" if account.implicit else "--tls", "--auth", account.mechanism or "ANY"]
    if account.certificate:
        words += ["--tls-cert", account.certificate, "--tls-key", account.certificate]
    return [*words, "--auth-user", account.user, "--auth-password", account.password]


def msmtp(account: Account) -> str:
    """A configuration of msmtp with the account `relay`."""
    lines = [
        "account relay",
        f"host {account.host}",
        f"port {account.port}",
        "tls on",
        f"tls_starttls {'off' if account.implicit else 'on'}",
        f"tls_trust_file {account.authority}",
        f"auth {account.mechanism.lower() or 'on'}",
        f"user {account.user}",  # for EXTERNAL too: without it msmtp takes our challenge for a yes
    ]
    if account.certificate:
        lines += [f"tls_cert_file {account.certificate}", f"tls_key_file {account.certificate}"]
    if account.password:
        lines.append(f"password {account.password}")
    return "\n".join(lines) + "\n"


def nodemailer(account: Account, message: dict[str, str]) -> bytes:
    """The input of nodemailer.js."""
    transport = {
        "host": account.host,
        "port": account.port,
        "secure": account.implicit,
        "requireTLS": not account.implicit,
        "tls": {"ca": Path(account.authority).read_text()},
        "auth": {"user": account.user, "pass": account.password},
        **({"authMethod": account.mechanism} if account.mechanism else {}),
    }
    return json.dumps({"module": str(NODEMAILER), "transport": transport, "message": message}).encode()


class PostfixClient(Postfix):
    """A Postfix that sends all it gets through the relay."""

    def __init__(self, folder: str, account: Account) -> None:
        super().__init__(folder)
        self._account = account

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        account = self._account
        next_hop = f"[{account.host}]:{account.port}"
        passwords = self.folder / "passwords"
        passwords.write_text(f"{next_hop} {account.user}:{account.password}\n")
        passwords.chmod(0o600)
        settings = f"""relayhost = {next_hop}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{passwords}
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = {account.mechanism.lower()}
smtp_tls_security_level = secure
smtp_tls_CAfile = {account.authority}
smtp_tls_wrappermode = {"yes" if account.implicit else "no"}
"""
        return peers.postfix(peers.Place(str(self.folder), self.port, 9, options={"extra": settings}), log)


class EximClient(Exim):
    """An Exim that hands each message over before it ends: no daemon."""

    def __init__(self, folder: str, account: Account) -> None:
        super().__init__(folder)
        self._account = account
        self.config = self.folder / "exim.conf"

    def prepare(self) -> list[str]:
        """Writes its configuration; the command that sends."""
        account = self._account
        self.folder.mkdir()
        self.folder.chmod(0o755)
        state = self._room("state", "Debian-exim")
        # A caret stands for the zero byte of PLAIN.
        logins = {
            "PLAIN": f"driver = plaintext\n  client_send = ^{account.user}^{account.password}",
            "LOGIN": f"driver = plaintext\n  client_send = : {account.user} : {account.password}",
            "EXTERNAL": f"driver = external\n  client_send = {account.user}",
        }
        mechanism = account.mechanism or "PLAIN"
        certificate = f"  tls_certificate = {account.certificate}" if account.certificate else ""
        self.config.write_text(f"""exim_path = {EXIM}
deliver_drop_privilege = true
primary_hostname = exim.test
spool_directory = {state}/spool
log_file_path = {state}/%slog
disable_ipv6 = true
host_lookup =
keep_environment =
begin routers
smarthost:
  driver = manualroute
  route_list = * {account.host} byname
  self = send
  transport = relay
begin transports
relay:
  driver = smtp
  port = {account.port}
  protocol = {"smtps" if account.implicit else "smtp"}
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {account.authority}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
  allow_localhost = true
{certificate}
begin authenticators
login:
  public_name = {mechanism}
  {logins[mechanism]}
""")
        return [str(EXIM), "-C", str(self.config), "-odf", "-oi"]


def objects(node: str, mails: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Nodemailer makes of mail objects (see nodemailer_objects.js): JSON, envelope, message."""
    script = str(ROOT / "tests/peers/nodemailer_objects.js")
    given = json.dumps({"module": str(NODEMAILER), "mails": mails}).encode()
    done = subprocess.run([node, script], input=given, capture_output=True, timeout=30, check=True)
    made: list[dict[str, Any]] = json.loads(done.stdout)
    return made
