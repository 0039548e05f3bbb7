"""Several recipients at a time, and LMTP, with servers that others wrote."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.peers.dovecot import Dovecot
from tests.peers.mailserver import MailServer, Postfix
from tests.scenario.interop import absent
from tests.scenario.test_together import TogetherCase


class IntoServers(TogetherCase):
    async def serving(self, server: MailServer) -> None:
        kind = type(server)
        if kind.missing():
            raise absent(kind.missing())
        if kind.forbidden():
            raise SkipTest(f"{kind.forbidden()}: {kind.name} NOT TESTED")
        os.chmod(self.directory, 0o711)  # the servers deliver as other users
        server.start()
        self.addCleanup(server.stop)
        await self.until(lambda: server.greets, 20, f"{kind.name}'s greeting", server)

    async def test_D13_into_postfix_with_a_limit(self) -> None:
        """It takes five recipients, and says 452 to the others."""
        server = Postfix(str(Path(self.directory) / "peer"))
        server.more = "smtpd_recipient_limit = 5"
        await self.serving(server)
        relay = await self.begun(20, mx=server.port)
        await self.submit(relay, *(f"r{number}@peer.test" for number in range(17)))
        told = await self.told(relay, 17)
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 17})
        await self.until(lambda: len(server.inbox()) == 17, 20, "all in the inbox", server)
        transactions = Counter(one["reply"] for one in told)
        self.assertLessEqual(max(transactions.values()), 5)
        self.assertLess(len(transactions), 17)

    async def into_dovecot(self, by_path: bool) -> None:
        """One has no mailbox, one's is full; the others have their mail, once."""
        users = [f"u{number}" for number in range(6)]
        server = Dovecot(str(Path(self.directory) / "peer"), users, full=["full"])
        await self.serving(server)
        hop = f'host = "{server.path if by_path else "127.0.0.1"}"'
        relay = await self.begun(5, more="lmtp = true", mx=server.port, hop=hop)
        await self.submit(relay, *(f"{user}@to.test" for user in ("u0", "nobody", "full", *users[1:])))
        told = await self.told(relay, 8)
        by = {(one["to"].strip("<>"), one["result"], one["stage"], one["reply"][:9]) for one in told}
        self.assertEqual(
            by,
            {(f"{user}@to.test", "delivered", "dot", "250 2.0.0") for user in users}
            | {("nobody@to.test", "bounced", "rcpt", "550 5.1.1"), ("full@to.test", "bounced", "dot", "552 5.2.2")},
        )
        for user in users:
            [text] = server.mailbox(user)
            self.assertIn(b"\r\n\r\nhello\r\n", text)
        self.assertEqual(server.mailbox("full"), [])

    async def test_lmtp_into_dovecot(self) -> None:
        await self.into_dovecot(by_path=False)

    async def test_lmtp_into_dovecot_by_a_socket(self) -> None:
        await self.into_dovecot(by_path=True)
