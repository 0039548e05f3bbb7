"""ARC: chains that dkimpy began are judged and go on, as dkimpy says of the result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import dkim as dkimpy
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from relay.channel.frames import BadKey
from relay.config.schema import Dkim
from relay.delivery.sealing import Sealing
from relay.delivery.signing import Sealed, Signing
from relay.dkim.canon import RelaxedBody, SimpleBody
from relay.dkim.chain import MOST, chain_of, judged
from relay.dkim.keyring import KeyRing
from relay.dkim.keys import KeyIndex
from relay.message.headers import HeaderBlock
from relay.net.dns import NoSuchDomain, ServerFailure
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, Timeless, parted, put, records, signer, verdicts
from tests.unit.test_session import offer

TEXT = (
    b"Authentication-Results: list.test; dkim=pass header.d=a.test\r\nFrom: a@example.test\r\nTo: b@x.test\r\n"
    b"Subject: s\r\nDate: Fri, 27 Nov 2026 09:09:10 +0000\r\nMessage-ID: <1@a.test>\r\n\r\nbody  \r\n\r\n"
)
PKCS1 = OTHER_RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def begun(text: bytes = TEXT) -> bytes:
    """A message with a chain of one set, by another."""
    lines = dkimpy.arc_sign(text, b"s0", b"list.test", PKCS1, b"list.test")
    return b"".join(lines) + text


class Arc(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        put(self.directory, "relay.test.a.pem", ED25519)
        put(self.directory, "relay.test.s1.pem", RSA)
        self.published: dict[str, Any] = dict(records(self.directory))
        others = self.mktemp()
        put(others, "list.test.s0.pem", OTHER_RSA)
        self.published |= records(others)
        self.told: list[BadKey] = []

    async def txt(self, name: str) -> list[str]:
        found = self.published.get(name, NoSuchDomain(name))
        if isinstance(found, Exception):
            raise found
        return ["v=spf1 -all", found]

    def seal(self, message: bytes, **options: Any) -> bytes:
        """As it leaves."""
        section = Dkim(keys=self.directory, arc="Relay.test", **options)
        index, ring = KeyIndex(self.directory, Timeless()), KeyRing(self.directory)
        now = signer(self.directory)._now
        sealing = Sealing(section, index, ring, "mx.relay.test", self.txt, now)

        def in_thread(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return maybeDeferred(work, *arguments)

        by = signer(self.directory, **options)
        signing = Signing(by, section, in_thread, lambda late: late(), self.told.append, lambda: 0.0, sealing)
        header, _, body = message.partition(b"\r\n\r\n")
        one = offer(headers=header + b"\r\n", body=body, body_size=len(body))
        deferred = signing(one, "mx.relay.test", lambda number: Deferred())
        sealed = Sealed(b"") if deferred is None else self.successResultOf(deferred)
        return sealed.fields + message

    def verdict(self, message: bytes) -> tuple[Any, int]:
        """What dkimpy says, and the length of the chain."""

        def txt(name: bytes, timeout: int = 5) -> bytes | None:
            found = self.published.get(name.decode().rstrip("."))
            return found.encode() if isinstance(found, str) else None

        verdict, results, _ = dkimpy.ARC(message).verify(dnsfunc=txt)
        return verdict, max((one["instance"] for one in results), default=0)

    def test_a_chain_goes_on(self) -> None:
        message = begun()
        for length in range(2, 6):
            message = self.seal(message)
            self.assertEqual(self.verdict(message), (b"pass", length))
        changed = message.replace(b"Subject: s", b"Subject: t")
        self.assertEqual(self.verdict(changed)[0], b"fail")
        self.assertIn(b"ARC-Authentication-Results: i=5; mx.relay.test; arc=pass\r\n", message)
        lines = message.partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertLessEqual(max(len(line) for line in lines if b"i=" not in line), 80)

    def test_our_signature_is_covered(self) -> None:
        put(self.directory, "example.test.s1.pem", RSA)
        self.published |= records(self.directory)
        message = self.seal(begun())
        self.assertTrue(message.startswith(b"ARC-Seal:"))
        self.assertEqual(verdicts(message, self.published), [True])
        self.assertEqual(self.verdict(message), (b"pass", 2))
        self.assertEqual(self.verdict(message.replace(b"q=dns/txt", b"q=dns/tx"))[0], b"fail")

    def test_a_chain_that_is_broken_is_said_to_be(self) -> None:
        """The seal covers our set alone, and the chain has ended: nobody adds to it."""
        broken = begun().replace(b"Subject: s", b"Subject: [list] s")
        message = self.seal(broken)
        self.assertIn(b" cv=fail;", message.partition(b"Authentication-Results")[0])
        self.assertIn(b"i=2; mx.relay.test; arc=fail\r\n", message)
        self.assertEqual(self.verdict(message), (None, 2))
        self.assertEqual(self.seal(message), message)

    def test_a_set_twice(self) -> None:
        line = b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=list.test; s=s0; b=x\r\n"
        self.assertIn(b" cv=fail;", self.seal(line + begun()))

    def test_what_is_left_as_it_is(self) -> None:
        message = begun()
        self.assertEqual(self.seal(TEXT), TEXT)
        self.published["s0._domainkey.list.test"] = ServerFailure("SERVFAIL")
        self.assertEqual(self.seal(message), message)
        long = b"".join(b"ARC-Seal: i=%d; d=list.test; s=s0; b=x\r\n" % number for number in range(1, MOST + 1)) + TEXT
        self.assertEqual(self.seal(long), long)

    def test_a_key_that_is_gone_breaks_it(self) -> None:
        del self.published["s0._domainkey.list.test"]
        self.assertIn(b" cv=fail;", self.seal(begun()))

    def test_K01_no_key_that_can_seal(self) -> None:
        put(self.directory, "relay.test.s1.pem", b"")
        message = begun()
        self.assertEqual(self.seal(message), message)
        self.assertEqual(self.told, [BadKey("relay.test", "relay.test.s1.pem", "it is empty")])

    def test_it_is_judged_as_dkimpy_does(self) -> None:
        """Whatever is changed in whichever field: as it came, by us, by both."""
        chance = random.Random(4)
        verdicts = []
        for round in range(300):
            message = begun(TEXT)
            for _ in range(round % 3):
                message = self.seal(message)
            lines = message.split(b"\r\n")
            for _ in range(chance.randrange(3)):
                at = chance.randrange(len(lines) - 1)
                old = lines[at]
                lines[at] = chance.choice((
                    old.replace(b"pass", b"none"), old.replace(b"=", b" = ", 1), old.replace(b"i=1", b"i=2"),
                    old.replace(b":", b":  ", 1), old + b" ", old[:-1], old.replace(b"relaxed", b"simple", 1),
                    old + b"\r\n" + old, old.upper(), old.replace(b"list", b"other"),
                    old.replace(b"t=", b"u="), old.replace(b"none", b"pass"),
                ))  # fmt: skip
            message = b"\r\n".join(lines)
            try:
                expected = self.verdict(message)[0]
            except Exception:
                expected = b"fail"
            block, body = parted(message)
            chain = chain_of(block)
            made = SimpleBody() if chain.simple_body else RelaxedBody()
            made.update(body)
            said = judged(chain, block, made.digest(), self.published)
            self.assertEqual(said == "pass", expected == b"pass", (message[-1400:], expected))
            verdicts.append(said)
        self.assertGreater(verdicts.count("pass"), 50)
        self.assertGreater(verdicts.count("fail"), 50)

    def test_long_fields_take_no_time(self) -> None:
        """What makes other verifiers think for hours."""
        for junk in (b" " * 900_000, b"\r\n " * 300_000, b";b" * 400_000, b"h=" + b"x:" * 400_000, b" a" * 400_000):
            field = b"ARC-Message-Signature: i=1; a=rsa-sha256; d=list.test; s=s0; h=from; bh=; b=" + junk + b"\r\n"
            begin = time.process_time()
            self.assertIn(b" cv=fail;", self.seal(field + b"ARC-Seal: i=1; cv=none; b=\r\n" + TEXT))
            self.assertLess(time.process_time() - begin, 2.0)

    def test_hostile_chains(self) -> None:
        for line in (
            b"ARC-Seal: i=1", b"ARC-Seal:", b"ARC-Seal: i=0; b=", b"ARC-Seal: i=99999", b"ARC-Seal: \xff\0;;;=",
            b"ARC-Seal: i=1; d=../../x; s=/; b=", b"ARC-Message-Signature: i=1;" + b" h=x" * 3000,
            b"ARC-Seal: i=1; d=list.test; s=s0; t=99999999999999999999; b=!", b"ARC-Seal : i=1; a=rsa-sha1; b=x",
        ):  # fmt: skip
            message = line + b"\r\n" + TEXT
            chain = chain_of(HeaderBlock(message.partition(b"\r\n\r\n")[0] + b"\r\n"))
            self.assertTrue(all("/" not in name for name in chain.records()), line)
            self.assertEqual(judged(chain, HeaderBlock(message), bytes(32), {}), "fail")
            self.assertTrue(self.seal(message).endswith(message))
