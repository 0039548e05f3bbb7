"""Dovecot as the mail store behind LMTP: who has a mailbox, who has none, and whose is full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import IO

from tests.peers.mailserver import MailServer

_CONFIG = """base_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = lmtp
ssl = no
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%n
mail_plugins = quota
mailbox_list_index = yes
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class Dovecot(MailServer):
    """It listens at its `port` and at the socket `path`; mailboxes go by the local part."""

    name = "Dovecot"

    def __init__(self, folder: str, users: Collection[str], full: Collection[str] = ()) -> None:
        """`users` have a mailbox, of `full` none has room for a message."""
        super().__init__(folder)
        self._users = [f"{user}:::::::" for user in users]
        self._users += [f"{user}::::::: userdb_quota_rule=*:storage=1B" for user in full]

    @property
    def path(self) -> str:
        return f"{self.folder}/lmtp"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("dovecot") and Path("/usr/lib/dovecot/lmtp").exists() else cls.name

    @property
    def greets(self) -> bool:
        return os.path.exists(self.path) and super().greets

    def mailbox(self, user: str) -> list[bytes]:
        """All messages of a user, with CRLF line ends."""
        files = sorted((self.folder / "mail" / user / "new").glob("*"))
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in files]

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        self._room("mail", "mail")
        (self.folder / "users").write_text("\n".join(self._users) + "\n")
        config = self.folder / "dovecot.conf"
        config.write_text(_CONFIG.format(folder=self.folder, port=self.port))
        return self._run(log, "dovecot", "-F", "-c", str(config))
