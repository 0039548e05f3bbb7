"""Real mail servers as next hops: each runs from a folder of its own on a free port of 127.0.0.1
and delivers whatever it takes into a maildir there, so that what it understood can be read.

They come from `make peers`. All are started as root, since each drops its rights to users of its
own, and none touches an installation of the same server on the machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import IO, ClassVar

from bench import peers
from bench.network import free_ports, greets
from bench.proctree import ProcessTree

ROOT = Path(__file__).parents[2]
EXIM = ROOT / ".peers/exim4-daemon-light/usr/sbin/exim4"
OPENSMTPD = ROOT / ".peers/opensmtpd/usr"


class MailServer:
    """One server; `folder` and those above it have to let other users through."""

    name: ClassVar[str]

    def __init__(
        self,
        folder: str,
        certificate: str = "",
        version: str = "",
        login: tuple[str, str] | None = None,
        broken: bool = False,
    ) -> None:
        """It offers TLS with a `certificate` (a file with its key), of one `version` only, such as "1.2". `broken`: no
        handshake succeeds, for it takes no cipher that goes with a key of RSA. With a `login`, a name and its
        password, Exim takes mail from nobody else."""
        self.broken = broken
        self.login = login
        self.folder = Path(folder)
        self.certificate = certificate
        self.version = version
        self.port = free_ports(1)[0]
        self.log = self.folder / "out"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """What is not installed here; "" when nothing is."""
        raise NotImplementedError

    @classmethod
    def forbidden(cls) -> str:
        """What this process may not do that the server needs; "" when nothing."""
        return "" if os.geteuid() == 0 else f"{cls.name} needs root"

    def start(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o755)
        with self.log.open("ab") as log:
            self._process = self._begin(log)

    @property
    def greets(self) -> bool:
        """Whether it is there. The answer may take up to 3 s."""
        return greets(self.port)

    def inbox(self) -> list[bytes]:
        """All messages it has delivered, with CRLF line ends as on the wire."""
        files = sorted((self.folder / "inbox/new").glob("*"))
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in files]

    def said(self) -> str:
        """Its log, wherever it writes it."""
        files = [self.log, *self.folder.glob("*.log"), *self.folder.glob("state/*log")]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def stop(self) -> None:
        if self._process is not None:
            ProcessTree(self._process.pid).kill()
            self._process.wait()

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _room(self, name: str, user: str) -> Path:
        """A folder inside ours that belongs to one of the server's users."""
        room = self.folder / name
        room.mkdir()
        os.chown(room, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        return room

    def _run(self, log: IO[bytes], *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class Postfix(MailServer):
    """The rig's Postfix, with a virtual mailbox in place of its next hop. `more` are further lines for main.cf."""

    name = "Postfix"
    more = ""

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("postfix") and Path("/etc/postfix/master.cf").exists() else cls.name

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        inbox, nobody = self._room("inbox", "nobody"), pwd.getpwnam("nobody")
        mailbox = f"""virtual_mailbox_domains = static:all
virtual_mailbox_base = {self.folder}
virtual_mailbox_maps = static:{inbox.name}/
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
virtual_mailbox_limit = 0
{self.more}
"""
        if self.certificate:
            mailbox += f"""smtpd_tls_security_level = may
smtpd_tls_cert_file = {self.certificate}
smtpd_tls_key_file = {self.certificate}
smtpd_tls_protocols = >=TLSv{self.version.removesuffix('.0')}, <=TLSv{self.version.removesuffix('.0')}
smtpd_tls_ciphers = medium
tls_medium_cipherlist = {"aECDSA" if self.broken else "ALL:@SECLEVEL=0"}
"""
        place = peers.Place(str(self.folder), self.port, 9, options={"extra": mailbox})
        return peers.postfix(place, log)


_AUTHENTICATORS = """begin authenticators
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{USER}{PASSWORD}fail}
  server_set_id = $auth1
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{USER}}{eq{$auth3}{PASSWORD}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{USER}}{eq{$auth2}{PASSWORD}}}}
  server_set_id = $auth1
"""


class Exim(MailServer):
    """Exim never becomes root again once it runs from another configuration than its own."""

    name = "Exim"

    @classmethod
    def missing(cls) -> str:
        return "" if EXIM.exists() else cls.name

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        inbox, state = self._room("inbox", "Debian-exim"), self._room("state", "Debian-exim")
        config = self.folder / "exim.conf"
        tls, open_to, authenticators = "tls_advertise_hosts =", "accept", ""
        if self.login is not None:
            open_to = "${if def:authenticated_id{accept}{deny}}"
            authenticators = _AUTHENTICATORS.replace("USER", self.login[0]).replace("PASSWORD", self.login[1])
        if self.certificate:
            # GnuTLS's words for it.
            tls = f"""tls_advertise_hosts = *
tls_certificate = {self.certificate}
tls_privatekey = {self.certificate}
tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-TLS{self.version}{":-KX-ALL:+ECDHE-ECDSA" if self.broken else ""}"""
        config.write_text(f"""exim_path = {EXIM}
deliver_drop_privilege = true
primary_hostname = exim.test
spool_directory = {state}/spool
log_file_path = {state}/%slog
pid_file_path = {state}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
acl_smtp_rcpt = {open_to}
message_size_limit = 0
smtp_accept_queue_per_connection = 0
{tls}
host_lookup =
keep_environment =
begin routers
everybody:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  maildir_format
  directory = {inbox}
{authenticators}""")
        return self._run(log, str(EXIM), "-C", str(config), "-bdf")


class OpenSmtpd(MailServer):
    """Its paths are compiled in, so it gets a view of the file system of its own."""

    name = "OpenSMTPD"

    @classmethod
    def missing(cls) -> str:
        return "" if (OPENSMTPD / "sbin/smtpd").exists() else cls.name

    @classmethod
    def forbidden(cls) -> str:
        if why := super().forbidden():
            return why
        mount = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/run"]
        tried = subprocess.run(mount, capture_output=True)
        return "mount namespaces are not allowed" if tried.returncode else ""

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        inbox, config = self._room("inbox", "nobody"), self.folder / "smtpd.conf"
        config.write_text(f"""table everybody {{ "@" = "nobody" }}
smtp max-message-size 100M
listen on 127.0.0.1 port {self.port} hostname opensmtpd.test
action "inbox" maildir "{inbox}" virtual <everybody>
match from any for any action "inbox"
""")
        script = f"""set -e
for place in /usr/libexec /var/spool /var/lib /run; do mount -t tmpfs none $place; done
mkdir -p /usr/libexec/opensmtpd /var/lib/opensmtpd/empty
mount --bind {OPENSMTPD}/libexec/opensmtpd /usr/libexec/opensmtpd
exec {OPENSMTPD}/sbin/smtpd -d -f {config}
"""
        return self._run(log, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
