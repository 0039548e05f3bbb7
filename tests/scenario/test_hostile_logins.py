"""Hostile use of TLS, of logins and of chunks, and mail through a relay that isn't theirs.

Rows S42-S50.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from OpenSSL import SSL

from bench.peers import REPOSITORY
from bench.proctree import precise
from tests.peers.stranger import Stranger
from tests.scenario.hostile import Hostile
from tests.unit.certificates import Authority

HEAD = b"From: <alice@src.test>\r\nSubject: x\r\n\r\n"
HIDDEN = b"MAIL FROM:<hidden@src.test>\r\nRCPT TO:<ok+hidden@evil.test>\r\nDATA\r\n"
PASSWORD = "correct horse"


def plain(name: str, password: str, acting: str = "") -> bytes:
    return base64.b64encode(f"{acting}\0{name}\0{password}".encode())


class WithUsers(Hostile):
    """Two users, one of whom has senders of her own."""

    more = '[access]\nusers = "{directory}/users.toml"\nattempts = 3\n'

    @classmethod
    def prepare(cls, directory: str) -> None:
        Authority().server("relay.test").write(f"{directory}/mail.pem")
        for name, *senders in (("alice@src.test", "--sender=alice@src.test", "--sender=@own.test"), ("bob@src.test",)):
            add = ["user", "add", name, "--users", f"{directory}/users.toml", "--password-stdin", *senders]
            subprocess.run(
                [sys.executable, "-m", "relay", *add],
                input=f"{PASSWORD}\n".encode(),
                cwd=REPOSITORY,
                check=True,
            )


class Tls(WithUsers):
    listeners = {
        "login": 'tls = "starttls"\nauth = true\ncertificate = "{directory}/mail.pem"\ntls_timeout = "2s"',
        "tls": 'tls = "starttls"\ncertificate = "{directory}/mail.pem"',
        "implicit": 'tls = "implicit"\ncertificate = "{directory}/mail.pem"\ntls_timeout = "2s"',
    }

    def test_S42_commands_behind_starttls(self) -> None:
        """In the same segment: the end, before there is TLS. In the next one: no handshake, and the end."""
        for behind in (HIDDEN, b"NOOP\r\n", b"x", b"\r\n"):
            client = self.session("tls")
            self.assertEqual(
                ["421 4.7.0 Error: commands sent behind STARTTLS"], client.replies(b"STARTTLS\r\n" + behind)
            )
        client = self.session("tls")
        self.assertEqual("220", client.tell(b"STARTTLS")[:3])
        client.socket.sendall(HIDDEN)
        heard = bytearray()
        try:
            while data := client.socket.recv(65536):
                heard += data
        except ConnectionResetError:
            pass
        self.assertNotRegex(bytes(heard), rb"(?m)^\d\d\d[ -]")

    def test_S42_nothing_said_before_counts(self) -> None:
        """RFC 3207 4.2: neither the name nor a transaction outlives the handshake."""
        client = self.begun("hidden", "tls")
        client.tell(b"RSET")
        client.secure()
        self.assertEqual("503", client.tell(b"MAIL FROM:<from@src.test>")[:3])
        client.hello()
        self.envelope(client, "secured")
        self.assertEqual("250", self.data(client, HEAD + b"hello\r\n.\r\n")[:3])
        self.assertRegex(self.text("secured"), rb"\r\n by relay\.test \(\w+\) with ESMTPS id (?s:.*?)TLSv1\.[23]")

    def test_S43_starttls_twice_and_wrong(self) -> None:
        client = self.connect("tls")
        self.assertEqual("503", client.tell(b"STARTTLS")[:3])
        self.assertIn("STARTTLS", client.hello())
        self.refused(client, b"STARTTLS now", b"STARTTLS " + b"x" * 4000)
        client.tell(b"MAIL FROM:<from@src.test>")
        self.refused(client, b"STARTTLS")
        client.tell(b"RSET")
        client.secure()
        self.assertNotIn("STARTTLS", client.hello())
        self.refused(client, b"STARTTLS")
        plain_client = self.session()
        self.refused(plain_client, b"STARTTLS")

    def test_S43_bad_bytes_and_silence(self) -> None:
        """Instead of a handshake: the end, at once or within `tls_timeout`."""
        for listener in ("login", "implicit"):
            for data in (bytes(range(256)) * 8, b"\x16\x03\x01\xff\xff" + b"\0" * 70000, b"EHLO a.test\r\n" * 10):
                client = self.wants_tls(listener)
                client.write(data)
                self.assertTrue(self.gone(client, 5), (listener, data[:20]))
            client = self.wants_tls(listener)
            client.write(b"\x16\x03\x01")
            begun = time.monotonic()
            self.assertTrue(self.gone(client, 8), listener)
            self.assertGreater(time.monotonic() - begun, 1.0)

    def wants_tls(self, listener: str) -> Stranger:
        if listener == "implicit":
            return self.connect(listener, greeted=False)
        client = self.session(listener)
        self.assertEqual("220", client.tell(b"STARTTLS")[:3])
        return client

    def gone(self, client: Stranger, seconds: float) -> bool:
        """Whether the relay closes within that time, and says nothing of SMTP before."""
        client.socket.settimeout(seconds)
        heard = bytearray()
        try:
            while data := client.socket.recv(65536):
                heard += data
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        self.assertNotRegex(bytes(heard), rb"(?m)^\d\d\d[ -]")
        return True

    def test_S44_no_renegotiation(self) -> None:
        """TLS 1.2 has it; a client that asks for it doesn't get it."""
        client = self.session("tls")
        self.assertEqual("220", client.tell(b"STARTTLS")[:3])
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client.socket.setblocking(True)
        connection = SSL.Connection(context, client.socket)
        connection.set_connect_state()
        connection.do_handshake()
        connection.sendall(b"EHLO a.test\r\n")
        self.assertIn(b"250", connection.recv(65536))
        connection.renegotiate()
        with self.assertRaises(SSL.Error) as refused:
            connection.do_handshake()
        self.assertIn("no renegotiation", str(refused.exception))

    def test_S44_records_of_one_byte(self) -> None:
        """20,000 of them cost a bounded time, and another client is served meanwhile."""
        client = self.session("tls")
        client.secure()
        master = self.relay.master()
        before = precise(master)

        def drip() -> None:
            for byte in b"NOOP " + b"x" * 3900 + b"\r\n":
                client.socket.send(bytes((byte,)))

        with ThreadPoolExecutor(1) as pool:
            dripping = pool.submit(lambda: [drip() for _ in range(5)])
            begun = time.monotonic()
            self.assertEqual("250", self.message("meanwhile", HEAD + b"hello\r\n", "tls")[:3])
            self.assertLess(time.monotonic() - begun, 5.0)
            dripping.result(60)
        self.assertEqual(["250"] * 5, [client.reply()[:3] for _ in range(5)])
        self.assertLess(precise(master) - before, 10.0)


class Chunks(Hostile):
    listeners = {"without": 'without = ["CHUNKING"]', "small": 'max_size = "100KB"'}

    def test_S45_sizes_that_are_none(self) -> None:
        """It can't be known where the next command is, so the session ends."""
        for size in (b"", b"-1", b"+5", b"1.5", b"0x10", b"five", b"9" * 20, b"5 LAST now", b"5 FIRST", b"5 5"):
            client = self.begun("hidden")
            answers = client.replies(b"BDAT " + size + b"\r\n" + HIDDEN)
            self.assertEqual([True], [answer.startswith(("501", "552")) for answer in answers], (size, answers))

    def test_S45_octets_are_counted(self) -> None:
        """What looks like an end, or like commands, is text when it is counted so."""
        client = self.begun("counted")
        chunk = HEAD + b"a\r\n.\r\n" + HIDDEN + b".\r\nQUIT\r\n"
        half = len(chunk) // 2
        for part, last in ((chunk[:half], b""), (b"", b""), (chunk[half:], b" LAST")):
            self.assertEqual("250", client.say(b"BDAT %d%b\r\n%b" % (len(part), last, part))[:3])
        self.assertEqual("250", client.tell(b"NOOP")[:3])
        self.assertTrue(self.text("counted").endswith(chunk))

    def test_S45_without_a_recipient_and_with_data(self) -> None:
        client = self.session()
        self.assertEqual("503", client.say(b"BDAT %d\r\n%b" % (len(HIDDEN), HIDDEN))[:3])
        client.tell(b"MAIL FROM:<from@src.test>")
        self.assertEqual("503", client.say(b"BDAT %d LAST\r\n%b" % (len(HIDDEN), HIDDEN))[:3])
        client.tell(b"RCPT TO:<ok+mixed@evil.test>")
        self.assertEqual("250", client.say(b"BDAT %d\r\n%b" % (len(HEAD), HEAD))[:3])
        self.refused(client, b"DATA", b"MAIL FROM:<hidden@src.test>", b"RCPT TO:<ok+hidden@evil.test>")
        self.assertEqual("250", client.say(b"BDAT 7 LAST\r\nhello\r\n")[:3])
        self.assertTrue(self.text("mixed").endswith(HEAD + b"hello\r\n"))

    def test_S45_more_than_the_maximum(self) -> None:
        """Refused and passed over; the session is in step."""
        client = self.begun("large", "small")
        for octets in (200_000, 60_000):
            chunk = (b"RSET\r\n" * (octets // 6 + 1))[:octets]
            self.assertIn(client.say(b"BDAT %d\r\n%b" % (octets, chunk))[:3], ("552", "503"))
        self.assertEqual("250", client.tell(b"RSET")[:3])
        self.envelope(client, "small")
        self.assertEqual("250", client.say(b"BDAT %d LAST\r\n%b" % (len(HEAD), HEAD))[:3])
        self.settle()
        self.assertEqual((0, 1), (len(self.to("large")), len(self.to("small"))))

    def test_S46_where_it_is_not_offered(self) -> None:
        """The end: the octets must not become commands."""
        client = self.connect("without")
        self.assertNotIn("CHUNKING", client.hello())
        self.envelope(client, "hidden")
        answers = client.replies(b"BDAT %d LAST\r\n%b" % (len(HIDDEN), HIDDEN))
        self.assertEqual(["502 5.5.1 Error: BDAT is not offered"], answers)


class Logins(WithUsers):
    listeners = {
        "login": 'tls = "starttls"\nauth = true\ncertificate = "{directory}/mail.pem"',
        "clear": "auth = true\ninsecure_auth = true\nmax_errors = 100",
        "elsewhere": 'allow_networks = ["192.0.2.0/24"]',
    }

    def test_S47_what_is_no_login(self) -> None:
        """5xx for each, and the session goes on or is over."""
        client = self.session("clear")
        for line in (
            b"AUTH", b"AUTH ", b"AUTH CRAM-MD5", b"AUTH XOAUTH2 AAAA", b"AUTH \xff", b"AUTH PLAIN !!!",
            b"AUTH PLAIN AGEAYg=", b"AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=a,r=\0"), b"AUTH " + b"X" * 3000,
        ):  # fmt: skip
            self.assertEqual("5", client.tell(line)[:1], line)
        self.assertEqual("334", client.tell(b"AUTH LOGIN")[:3])
        self.assertEqual("501 5.7.0 Authentication aborted", client.tell(b"*"))
        self.assertEqual("334", client.tell(b"AUTH PLAIN")[:3])
        self.assertEqual("5", client.tell(b"A" * 500_000)[:1])
        self.assertEqual(["221"], [answer[:3] for answer in client.replies(b"QUIT\r\n")][-1:])

    def test_S47_odd_credentials(self) -> None:
        """NULs, bytes that are no UTF-8, nothing at all: 535 or 501, as for anybody."""
        long = b"\0" + b"a" * 2000 + b"\0b"
        odd = (b"", b"\0\0", b"\0", b"a", b"\0\0\0\0", b"\0alice@src.test\0", b"\xff\0\xff\0\xff", long)
        for number, given in enumerate(odd):
            client = self.connect("clear", f"127.0.7.{1 + number}")
            client.hello()
            answer = client.tell(b"AUTH PLAIN " + (base64.b64encode(given) or b"="))
            self.assertIn(answer[:3], ("535", "501"), given)
            self.assertEqual("530", client.tell(b"MAIL FROM:<hidden@src.test>")[:3])

    def test_S48_guesses(self) -> None:
        """Nobody learns who is a user, and twenty guesses take longer than ten seconds or are cut off."""

        def guess(name: str, source: str) -> tuple[list[str], list[float]]:
            answers, times = [], []
            for _ in range(20):
                with Stranger(self.ports["clear"], source) as client:
                    client.hello()
                    begun = time.monotonic()
                    answers.append(client.tell(b"AUTH PLAIN " + plain(name, "wrong horse")))
                    times.append(time.monotonic() - begun)
                if not answers[-1].startswith("535"):
                    break
            return answers, times

        with ThreadPoolExecutor(2) as pool:
            known = pool.submit(guess, "bob@src.test", "127.0.8.1")
            unknown = pool.submit(guess, "nobody@src.test", "127.0.8.2")
            (said, took), (said_too, took_too) = known.result(90), unknown.result(90)
        self.assertEqual(said[:3], said_too[:3])
        self.assertEqual([answer[:9] for answer in said], [answer[:9] for answer in said_too])
        self.assertEqual({"535 5.7.8 Error: Invalid username or password"}, set(said[:3]))
        for times in (took, took_too):
            self.assertTrue(sum(times) > 10.0 or len(times) < 20, times)
        client = self.connect("clear", "127.0.8.3")
        client.hello()
        self.assertEqual("235", client.tell(b"AUTH PLAIN " + plain("bob@src.test", PASSWORD))[:3])
        said_by_relay = self.relay.said()
        for secret in ("wrong horse", PASSWORD, plain("bob@src.test", PASSWORD).decode()):
            self.assertNotIn(secret, said_by_relay)

    def test_S49_no_open_relay(self) -> None:
        """Who has not logged in, and is in no allowed network, relays nothing."""
        client = self.session("elsewhere")
        self.assertEqual("250", client.tell(b"MAIL FROM:<hidden@src.test>")[:3])
        for recipient in (b"ok+hidden@evil.test", b"hidden%evil.test@relay.test", b"@relay.test:ok+hidden@evil.test"):
            self.assertEqual("550 5.7.1", client.tell(b"RCPT TO:<%b>" % recipient)[:9])
        self.assertEqual("503", client.tell(b"DATA")[:3])
        client = self.session("login")
        for line in (b"MAIL FROM:<hidden@src.test>", b"MAIL FROM:<alice@src.test> AUTH=a@b.test", b"MAIL FROM:<>"):
            self.assertEqual("530", client.tell(line)[:3])

    def test_S49_no_login_without_tls(self) -> None:
        client = self.connect("login")
        self.assertEqual([], [offer for offer in client.hello() if offer.startswith("AUTH")])
        self.assertEqual("538", client.tell(b"AUTH PLAIN " + plain("alice@src.test", PASSWORD))[:3])
        client.secure()
        self.assertEqual(1, len([offer for offer in client.hello() if offer.startswith("AUTH ")]))
        self.assertEqual("235", client.tell(b"AUTH PLAIN " + plain("alice@src.test", PASSWORD))[:3])
        self.refused(client, b"AUTH PLAIN " + plain("bob@src.test", PASSWORD))

    def test_S50_the_sender_of_somebody_else(self) -> None:
        """Refused where the user has senders of its own; nobody acts for another."""
        client = self.connect("clear", "127.0.9.1")
        client.hello()
        self.assertEqual("535", client.tell(b"AUTH PLAIN " + plain("alice@src.test", PASSWORD, "bob@src.test"))[:3])
        self.assertEqual("235", client.tell(b"AUTH PLAIN " + plain("alice@src.test", PASSWORD))[:3])
        for sender in (b"bob@src.test", b"alice@src.test.evil.test", b"x@sub.own.test", b"@own.test:bob@src.test"):
            self.assertEqual("553 5.7.1", client.tell(b"MAIL FROM:<%b>" % sender)[:9], sender)
        self.assertEqual("250", client.tell(b"MAIL FROM:<Alice@SRC.test>")[:3])
        self.assertEqual("250", client.tell(b"RCPT TO:<ok+hers@evil.test>")[:3])
        self.assertEqual("250", self.data(client, HEAD + b"hello\r\n.\r\n")[:3])
        self.assertIn(b"ESMTPA", self.text("hers"))
