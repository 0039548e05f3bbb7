"""Signatures within a delivery: when, by what, and what becomes of the attempt without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec.structs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from relay.channel.frames import BadKey, Offer
from relay.config.schema import Dkim
from relay.delivery.exchangers import Host
from relay.delivery.heading import SIGNING
from relay.delivery.signing import Sealed, Signing
from relay.message.values import Origin, Result
from tests.unit.dkim_rig import ED25519, RSA, put, records, signer, verdicts
from tests.unit.test_session import Case, offer

HEADERS = b"From: a@example.test\r\nSubject: x\r\n"
READY = b"250 ok\r\n250 ok\r\n354 go\r\n"


class Seals(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.path = put(self.directory, "example.test.s1.pem", ED25519)
        self.now = 0.0
        self.told: list[BadKey] = []
        self.fetched: list[int] = []
        self.body = b"line of text\r\n" * 10

    def make(self, **options: Any) -> Signing:
        by = signer(self.directory, **options)

        def in_thread(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return maybeDeferred(work, *arguments)

        return Signing(by, Dkim(**options), in_thread, lambda late: late(), self.told.append, lambda: self.now)

    def chunk(self, number: int) -> Deferred[bytes]:
        self.fetched.append(number)
        return succeed(self.body[number * 50 : number * 50 + 50])

    def seal(self, signing: Signing, **changes: Any) -> Sealed:
        values: dict[str, Any] = {"headers": HEADERS, "body": self.body, "body_size": len(self.body)}
        deferred = signing(offer(**values | changes), "out.test", self.chunk)
        assert deferred is not None
        return self.successResultOf(deferred)

    def valid(self, sealed: Sealed, headers: bytes = HEADERS) -> list[bool]:
        message = b"".join((sealed.fields, headers, b"\r\n", self.body))
        return verdicts(message, records(self.directory))

    def test_the_hash_of_the_intake_is_used(self) -> None:
        from tests.unit.test_dkim_canon import body_hash

        sealed = self.seal(self.make(), body=None, chunks=3, body_hash=body_hash(self.body))
        self.assertEqual((self.valid(sealed), self.fetched), ([True], []))

    def test_without_one_the_body_is_read(self) -> None:
        self.assertEqual(self.valid(self.seal(self.make())), [True])
        self.assertEqual(self.fetched, [])
        self.assertEqual(self.valid(self.seal(self.make(), body=None, chunks=3)), [True])
        self.assertEqual(self.fetched, [0, 1, 2])
        self.body = b""
        self.assertEqual(self.valid(self.seal(self.make(), body=None, chunks=0)), [True])

    def test_simple_form_has_a_hash_of_its_own(self) -> None:
        sealed = self.seal(self.make(canonicalization="simple/simple"), body_hash=bytes(32))
        self.assertEqual(self.valid(sealed), [True])

    def test_a_body_that_can_not_be_read_does_not_go_unsigned(self) -> None:
        self.chunk = lambda number: fail(OSError("no"))  # type: ignore[method-assign]
        sealed = self.seal(self.make(), body=None, chunks=3)
        self.assertEqual(sealed, Sealed(b"", "The body can't be read: no", True))

    def test_nobodys_mail_costs_nothing(self) -> None:
        one = offer(headers=b"From: a@other.test\r\n")
        self.assertEqual(self.make()(one, "", self.chunk), None)

    def test_nor_is_what_strangers_have_brought_signed(self) -> None:
        """With whatever From: the listener for what comes back is open to the world."""
        origin = Origin("back", "192.0.2.7")
        self.assertNotEqual(self.seal(self.make(), origin=origin).fields, b"")
        one = offer(headers=HEADERS, origin=msgspec.structs.replace(origin, returned=True))
        self.assertEqual(self.make(required_domains=["example.test"], on_bad_key="defer")(one, "", self.chunk), None)

    def test_K01_policy(self) -> None:
        put(self.directory, "example.test.s1.pem", b"")
        reason = "example.test.s1.pem: it is empty"
        self.assertEqual(self.seal(self.make()), Sealed(b"", reason, False))
        self.assertEqual(self.seal(self.make(on_bad_key="defer")), Sealed(b"", reason, True))

    def test_K01_it_is_said_at_once_and_again_each_minute(self) -> None:
        put(self.directory, "example.test.s1.pem", b"")
        signing, said = self.make(), BadKey("example.test", "example.test.s1.pem", "it is empty")
        for _ in range(3):
            self.seal(signing)
        self.assertEqual(self.told, [said])
        self.now = 60.0
        self.seal(signing)
        self.assertEqual(self.told, [said, said])
        put(self.directory, "example.test.s1.pem", RSA)
        self.assertEqual(self.seal(signing).unsigned, "")
        put(self.directory, "example.test.s1.pem", b"")
        self.seal(signing)
        self.assertEqual(len(self.told), 3)

    def test_an_error_of_ours(self) -> None:
        for policy, held in (("unsigned", False), ("defer", True)):
            signing = self.make(on_bad_key=policy)
            self.patch(signing._signer, "plan", None)
            self.assertEqual(self.seal(signing), Sealed(b"", "Signing has failed here", held))
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class Sessions(Case):
    """The signature is waited for before MAIL, and nothing that happens meanwhile is lost."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[Offer, str, Deferred[Sealed]]] = []
        self.given_up = 0
        self.session = self.make(sign=self.sign)

    def sign(self, offer: Offer, host: str, chunk: Any) -> Deferred[Sealed]:
        def cancelled(_: Any) -> None:
            self.given_up += 1

        waiting: Deferred[Sealed] = Deferred(cancelled)
        self.asked.append((offer, host, waiting))
        self.chunk = chunk
        return waiting

    def give(self, sealed: Sealed) -> None:
        self.asked[-1][2].callback(sealed)

    def test_it_goes_above_the_header(self) -> None:
        peer = self.open()
        self.session.go()
        self.assertEqual(peer.line.read(), b"")
        self.assertEqual(self.asked[0][1], "relay.test")
        self.give(Sealed(b"DKIM-Signature: x\r\n"))
        mail = peer.line.read()
        text = peer.say(READY)
        self.assertIn(b"\r\nDKIM-Signature: x\r\nSubject: x\r\n\r\n", text)
        self.assertTrue(text.startswith(b"Received:"))
        self.assertIn(b" SIZE=%d\r\n" % (len(text) - len(b".") - len(b".\r\n")), mail)
        peer.say(b"250 ok\r\n")
        self.assertEqual((self.outcome.result, self.outcome.unsigned), (Result.DELIVERED, ""))

    def test_K01_without_one_the_outcome_says_so(self) -> None:
        peer = self.open()
        self.session.go()
        self.give(Sealed(b"", "k: it is empty"))
        peer.line.read()
        peer.say(READY)
        peer.say(b"250 ok\r\n")
        self.assertEqual((self.outcome.result, self.outcome.unsigned), (Result.DELIVERED, "k: it is empty"))
        self.session.deliver(offer())
        self.give(Sealed(b""))
        peer.line.read()
        peer.say(READY)
        peer.say(b"250 ok\r\n")
        self.assertEqual(self.book.outcomes[-1].unsigned, "")

    def test_K01_held(self) -> None:
        """Not a word of it to the host; the connection stays for others."""
        peer = self.open()
        self.session.go()
        self.give(Sealed(b"", "k: it is empty", True))
        self.assertEqual(peer.line.read(), b"")
        self.check(Result.DEFERRED, "mail", "ours")
        self.assertEqual((self.outcome.response, self.book.kept), ("k: it is empty", [True]))
        self.session.deliver(offer())
        self.give(Sealed(b""))
        self.assertTrue(peer.line.read().startswith(b"MAIL"))

    def test_one_that_does_not_come(self) -> None:
        self.open()
        self.session.go()
        self.pass_time(SIGNING - 1)
        self.assertEqual((self.book.outcomes, self.book.told), ([], ["answered"]))
        self.pass_time(1)
        self.check(Result.DEFERRED, "mail", "ours")
        self.assertEqual(self.given_up, 1)

    def test_while_the_body_is_read_it_may_take_longer(self) -> None:
        self.open()
        self.session.go()
        for _ in range(5):
            self.pass_time(SIGNING - 1)
            self.chunk(0)
        self.assertEqual(self.book.outcomes, [])

    def test_the_host_leaves_meanwhile(self) -> None:
        peer = self.open()
        self.session.go()
        peer.close(ConnectionLost())
        self.assertEqual((self.given_up, self.peer().address), (1, "192.0.2.20"))

    def test_no_host_of_the_other_kind_is_called_then(self) -> None:
        """Our connections count for the address by which the first host was reached."""
        self.hosts = (Host("mx", "192.0.2.1"), Host("mx", "2001:db8::1"), Host("mx", "192.0.2.2"))
        peer = self.open(local_address6="2001:db8::9", local_name6="six.test")
        self.session.go()
        peer.close(ConnectionLost())
        self.assertEqual((self.given_up, self.peer().address), (1, "192.0.2.2"))

    def test_a_kept_connection_dies_meanwhile(self) -> None:
        """Nothing was said of the message: it is tried at once on a new one."""
        peer = self.to_dot_signed()
        peer.say(b"250 ok\r\n")
        self.session.deliver(offer())
        peer.close()
        self.assertEqual((self.given_up, len(self.book.outcomes)), (1, 1))
        second = self.peer()
        self.assertIsNot(second.protocol if hasattr(second, "protocol") else None, peer.protocol)
        second.connect()
        second.say(b"220 hi\r\n")
        second.say(b"250 mx.test\r\n")
        self.session.go()
        self.give(Sealed(b""))
        self.assertTrue(second.line.read().startswith(b"MAIL"))

    def test_an_idle_limit_does_not_count(self) -> None:
        peer = self.to_dot_signed()
        peer.say(b"250 ok\r\n")
        self.session.deliver(offer())
        self.pass_time(10.0)
        self.give(Sealed(b""))
        self.assertTrue(peer.line.read())

    def test_aborted_meanwhile(self) -> None:
        self.open()
        self.session.go()
        self.session.abort()
        self.assertEqual((self.given_up, self.book.outcomes), (1, []))

    def to_dot_signed(self) -> Any:
        peer = self.open()
        self.session.go()
        self.give(Sealed(b""))
        peer.line.read()
        peer.say(READY)
        return peer
