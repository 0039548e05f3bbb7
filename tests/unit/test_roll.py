"""Keys, organisations, members and sessions, as they are kept and judged."""

from __future__ import annotations

import hmac
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.access import apikey, session
from relay.access.admission import Admission, Denied, user_of
from relay.access.allowance import Allowance
from relay.access.apikey import ApiKey
from relay.access.caller import Caller, Scope
from relay.access.guesses import Guesses
from relay.access.register import Full, Records, Register
from relay.access.roll import MOST_SESSIONS_EACH, Roll, Taken
from relay.access.tenant import OWN, Role, Tenant
from relay.message.user import User
from relay.queue.store import StoreError
from tests.unit.suppression_rig import FakeShelf

HOUR = 3600 * 1000
FROM = "192.0.2.1"


class RollCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.shelf = FakeShelf()
        self.roll = self.opened()

    def now(self) -> int:
        return round(self.clock.seconds() * 1000)

    def opened(self) -> Roll:
        roll = Roll(self.shelf, self.now)
        roll.open()
        return roll

    def key(self, *scopes: Scope, name: str = "shop", **more: Any) -> str:
        return str(self.successResultOf(self.roll.add_key(ApiKey("", name, b"", scopes, **more))))

    def one(self) -> ApiKey:
        [key] = self.roll.keys
        return key


class Written(SynchronousTestCase):
    def test_a_key_is_what_it_is_said_to_be(self) -> None:
        made = apikey.make()
        self.assertRegex(str(made), r"^zr_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$")
        self.assertEqual(apikey.read(str(made)), made)
        self.assertNotIn(made.secret, repr(made))

    @given(st.text(max_size=80) | st.from_regex(r"zr_[0-9a-f]{12}_[A-Za-z0-9_-]{42,44}\n?", fullmatch=True))
    def test_whatever_is_shown(self, text: str) -> None:
        read = apikey.read(text)
        if read is None:
            self.assertFalse(len(text) == 59 and text.startswith("zr_") and text[15] == "_" and text.isprintable())
        else:
            self.assertEqual((str(read), len(read.id), len(read.secret)), (text, 12, 43))

    def test_H20_secrets_are_compared_in_a_time_that_tells_nothing(self) -> None:
        """Hashes of one length, by hmac.compare_digest alone, whether or not there is such a key."""
        compared = []
        real = hmac.compare_digest

        def compare(one: bytes, other: bytes) -> bool:
            compared.append((len(one), len(other)))
            return real(one, other)

        key = ApiKey("0" * 12, "x", apikey.hashed("right"), (Scope.READ,))
        with patch("relay.access.apikey.hmac.compare_digest", compare):
            self.assertTrue(apikey.knows(key, "right"))
            self.assertFalse(apikey.knows(key, "wrong"))
            self.assertFalse(apikey.knows(None, "right"))
        self.assertEqual(compared, [(32, 32)] * 3)

    def test_where_it_may_be_used(self) -> None:
        key = ApiKey("0" * 12, "x", b"", (Scope.READ,), networks=("192.0.2.0/24", "2001:db8::/32"))
        for address in ("192.0.2.9", "2001:db8::1", "::ffff:192.0.2.9"):
            self.assertTrue(key.fits(address), address)
        for address in ("192.0.3.1", "::1", "", "example"):
            self.assertFalse(key.fits(address), address)


class Kept(RollCase):
    def test_a_secret_is_not(self) -> None:
        text = self.key(Scope.SUBMIT)
        self.assertNotIn(text[16:].encode(), b"".join(self.shelf.kept.values()))
        self.assertEqual(self.one().hash, apikey.hashed(text[16:]))

    def test_over_a_restart(self) -> None:
        self.key(Scope.SUBMIT, domains=("example.com",))
        self.roll.add_tenant(Tenant("acme", "Acme"))
        member = self.successResultOf(self.roll.add_member("ann", "acme", Role.OWNER, "hash"))
        token = self.successResultOf(self.roll.begin(member))
        again = self.opened()
        self.assertEqual(list(again.keys), list(self.roll.keys))
        self.assertEqual(list(again.tenants), list(self.roll.tenants))
        self.assertEqual(again.session(token), self.roll.session(token))
        self.assertNotIn(token.encode(), b"".join(self.shelf.kept))

    def test_one_that_can_not_be_read_opens_nothing(self) -> None:
        self.key(Scope.SUBMIT)
        self.shelf.kept[b"k/" + b"f" * 12] = b"\xc1"
        self.assertEqual(len(self.opened().keys), 1)

    def test_many_pages(self) -> None:
        for number in range(1201):
            self.key(Scope.READ, name=f"key{number}")
        self.assertEqual(len(self.opened().keys), 1201)

    def test_a_change_that_fails_is_none(self) -> None:
        self.key(Scope.SUBMIT)
        key = self.one()
        self.shelf.error = StoreError("full")
        self.failureResultOf(self.roll.revoke(key.id), StoreError)
        self.assertEqual(self.one(), key)
        self.failureResultOf(self.roll.add_key(ApiKey("", "other", b"", (Scope.READ,))), StoreError)
        self.assertEqual(self.one(), key)

    def test_revoked_at_once_and_told_when_it_is_on_disk(self) -> None:
        self.key(Scope.SUBMIT)
        self.shelf.at_once = False
        revoked = self.roll.revoke(self.one().id)
        self.assertEqual(len(self.roll.keys), 0)
        self.assertNoResult(revoked)
        self.shelf.tell()
        self.successResultOf(revoked)

    def test_bounds(self) -> None:
        few: Records[str] = Records("words", b"w/", str, 2)
        register = Register(self.shelf, (few,))
        register.write((few, "a", "x"), (few, "b", "x"))
        self.assertRaises(Full, register.write, (few, "c", "x"))
        register.write((few, "b", "y"))
        register.write((few, "a", None))
        register.write((few, "c", "x"))
        self.assertEqual(few.items(), [("b", "y"), ("c", "x")])

    def test_names_of_keys(self) -> None:
        self.key(Scope.READ)
        self.assertRaises(Taken, self.roll.add_key, ApiKey("", "Shop", b"", (Scope.READ,)))
        self.roll.add_tenant(Tenant("acme", "Acme"))
        self.key(Scope.READ, tenant="acme")
        self.assertEqual([key.user for key in self.roll.keys], ["shop", "acme/shop"])

    def test_when_it_was_used_last_is_seldom_written(self) -> None:
        self.key(Scope.READ)
        written = len(self.shelf.writes)
        for minutes, writes in ((0, 1), (59, 1), (2, 2)):
            self.clock.advance(minutes * 60)
            self.roll.used(self.one())
            self.assertEqual(len(self.shelf.writes) - written, writes)
        self.assertEqual(self.one().used, self.now())


class Organisations(RollCase):
    def setUp(self) -> None:
        super().setUp()
        self.roll.add_tenant(Tenant("acme", "Acme"))
        self.ann = self.successResultOf(self.roll.add_member("ann", "acme", Role.OWNER, "hash"))

    def test_the_relays_own_is_always_there(self) -> None:
        self.assertEqual(self.roll.tenant(OWN).id, OWN)  # type: ignore[union-attr]
        self.assertRaises(Taken, self.roll.add_tenant, Tenant(OWN, "Mine"))
        self.assertIsNone(self.roll.tenant("other"))

    def test_all_of_it_goes_in_one_batch(self) -> None:
        token = self.successResultOf(self.roll.begin(self.ann))
        for name in ("one", "two"):
            self.key(Scope.READ, name=name, tenant="acme")
        self.key(Scope.READ, name="ours")
        written = len(self.shelf.writes)
        self.successResultOf(self.roll.drop_tenant("acme"))
        self.assertEqual(self.shelf.writes[written:], [4])
        self.assertIsNone(self.roll.session(token))
        self.assertEqual([key.name for key in self.opened().keys], ["ours"])

    def test_a_name_is_one_persons(self) -> None:
        self.assertRaises(Taken, self.roll.add_member, "ann", OWN, Role.VIEWER, "hash")

    def test_capitals_tell_no_two_apart(self) -> None:
        for id in ("Acme", "ACME", "Relay"):
            self.assertRaises(Taken, self.roll.add_tenant, Tenant(id, id))

    def test_what_is_many(self) -> None:
        with patch("relay.access.roll.MOST_MEMBERS_EACH", 1), patch("relay.access.roll.MOST_KEYS_EACH", 0):
            self.assertRaises(Full, self.roll.add_member, "bob", "acme", Role.VIEWER, "hash")
            self.assertRaises(Full, self.roll.add_key, ApiKey("", "x", b"", (), tenant="acme"))


class Sessions(RollCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.successResultOf(self.roll.add_member("ann", OWN, Role.OWNER, "hash"))
        self.token = self.begin()

    def begin(self) -> str:
        return self.successResultOf(self.roll.begin(self.ann))

    def test_idle(self) -> None:
        for _ in range(3):
            self.clock.advance(11 * 3600)
            self.assertIsNotNone(self.roll.session(self.token))
        self.clock.advance(6 * 3600)
        self.assertTrue(self.roll.lasts(self.token))
        self.clock.advance(6 * 3600)
        self.assertFalse(self.roll.lasts(self.token))
        self.assertIsNone(self.roll.session(self.token))
        self.assertEqual(len(self.opened().sessions), 0)

    def test_a_week_is_the_longest(self) -> None:
        for _ in range(15):
            self.clock.advance(11 * 3600)
            self.assertIsNotNone(self.roll.session(self.token))
        self.clock.advance(4 * 3600)
        self.assertIsNone(self.roll.session(self.token))

    def test_its_end(self) -> None:
        self.successResultOf(self.roll.end(self.token))
        self.assertIsNone(self.roll.session(self.token))
        self.successResultOf(self.roll.end("another"))
        self.assertIsNone(self.roll.session("another"))
        self.assertIsNone(self.roll.session("\ud800"))

    def test_another_password_ends_them_and_another_role_does_not(self) -> None:
        self.ann = self.successResultOf(self.roll.change_member(self.ann, Role.VIEWER))
        self.assertEqual(self.roll.session(self.token)[1].role, Role.VIEWER)  # type: ignore[index]
        self.ann = self.successResultOf(self.roll.change_member(self.ann, hash="other"))
        self.assertIsNone(self.roll.session(self.token))
        self.assertIsNotNone(self.roll.session(self.begin()))

    def test_who_is_no_member_any_more(self) -> None:
        self.roll.drop_member("ann")
        self.assertIsNone(self.roll.session(self.token))
        self.assertEqual(len(self.roll.sessions), 0)

    def test_no_more_than_so_many(self) -> None:
        for _ in range(MOST_SESSIONS_EACH):
            self.clock.advance(1)
            self.begin()
        self.assertEqual(len(self.roll.sessions), MOST_SESSIONS_EACH)
        self.assertIsNone(self.roll.session(self.token), "the oldest")

    def test_the_words_are_not_each_other(self) -> None:
        self.assertNotIn(session.csrf(self.token), (self.token, session.kept_as(self.token)))
        self.assertNotEqual(session.csrf(self.token), session.csrf(self.begin()))


class Judged(RollCase):
    def setUp(self) -> None:
        super().setUp()
        self.admission = Admission(self.roll, Guesses(5, 900), self.now, self.clock.seconds)

    def denied(self, text: str, address: str = FROM) -> Denied:
        return self.assertRaises(Denied, self.admission.by_key, text, address)

    def caller(self, **more: Any) -> Caller:
        key = self.admission.by_key(self.key(*Scope, name=f"k{len(self.roll.keys)}", **more), FROM)
        return self.admission.caller(key)

    def test_right(self) -> None:
        key = self.admission.by_key(self.key(Scope.READ, Scope.SUBMIT), FROM)
        expected = Caller("shop", frozenset((Scope.READ, Scope.SUBMIT)), by=f"key {key.id}")
        self.assertEqual(self.admission.caller(key), expected)

    def test_wrong(self) -> None:
        text = self.key(Scope.READ)
        for wrong in ("", "x", text[:-1], text[:-1] + ("a" if text[-1] != "a" else "b"), "zr_" + "0" * 12 + text[15:]):
            self.assertEqual((str(self.denied(wrong)), self.denied(wrong, "192.0.2.99").wait), ("Wrong key", 0.0))

    def test_guessing_takes_too_long(self) -> None:
        text = self.key(Scope.READ)
        wrong = text[:-2] + "AA"
        for _ in range(5):
            self.denied(wrong)
        self.assertGreater(self.denied(wrong).wait, 0)
        self.assertGreater(self.denied(text).wait, 0, "even with the right one")
        self.assertEqual(self.admission.by_key(text, "192.0.2.2").name, "shop")
        self.clock.advance(901)
        self.assertEqual(self.admission.by_key(text, FROM).name, "shop")
        for _ in range(30):
            self.denied("nonsense")
        self.assertEqual(self.admission.by_key(text, FROM).name, "shop", "well known from there")

    def test_expired(self) -> None:
        text = self.key(Scope.READ, expires=self.now() + HOUR)
        self.admission.by_key(text, FROM)
        self.clock.advance(3600)
        self.assertIn("expired", str(self.denied(text)))
        self.assertFalse(self.admission.stands(self.one().id))

    def test_from_elsewhere(self) -> None:
        text = self.key(Scope.READ, networks=("198.51.100.0/24",))
        self.assertTrue(self.denied(text).known)
        self.admission.by_key(text, "198.51.100.7")

    def test_revoked(self) -> None:
        text = self.key(Scope.READ)
        self.assertTrue(self.admission.stands(self.one().id))
        id = self.one().id
        self.roll.revoke(id)
        self.assertEqual(str(self.denied(text)), "Wrong key")
        self.assertFalse(self.admission.stands(id))

    def test_too_often(self) -> None:
        text = self.key(Scope.READ, rates=("2/s", "3/m"))
        for _ in range(2):
            self.admission.by_key(text, FROM)
        denied = self.denied(text)
        self.assertEqual((denied.known, denied.wait), (True, 0.5))
        self.clock.advance(0.5)
        self.admission.by_key(text, FROM)
        self.assertAlmostEqual(self.denied(text).wait, 19.5)
        self.admission.by_key(self.key(Scope.READ, name="other"), FROM)

    def test_what_an_organisation_may_not(self) -> None:
        self.roll.add_tenant(Tenant("acme", "Acme", ("example.com", "example.org")))
        self.assertNotIn(Scope.IMPERSONATE, self.caller(tenant="acme").scopes)
        self.assertEqual(self.caller(tenant="acme").domains, ("example.com", "example.org"))
        self.assertEqual(self.caller(tenant="acme", domains=("example.org", "example.net")).domains, ("example.org",))
        elsewhere = self.caller(tenant="acme", domains=("example.net",))
        self.assertEqual((elsewhere.domains, elsewhere.may(Scope.SUBMIT)), ((), False))
        self.assertEqual(self.caller(domains=("example.net",)).domains, ("example.net",))

    def test_a_key_of_an_organisation_that_is_gone(self) -> None:
        text = self.key(Scope.READ, tenant="gone")
        self.assertFalse(self.admission.stands(self.one().id))
        self.denied(text)

    def test_members(self) -> None:
        self.roll.add_tenant(Tenant("acme", "Acme"))
        for tenant, role, name, scopes in (
            ("acme", Role.VIEWER, "acme/ann", {Scope.READ}),
            (OWN, Role.OPERATOR, "bob", {Scope.READ, Scope.OPERATE, Scope.SUBMIT}),
            ("acme", Role.OWNER, "acme/cid", {Scope.READ, Scope.OPERATE, Scope.SUBMIT, Scope.ADMIN}),
        ):
            user = name.rpartition("/")[2]
            member = self.successResultOf(self.roll.add_member(user, tenant, role, "hash"))
            expected = Caller(name, frozenset(scopes), "" if tenant == OWN else tenant, by="session")
            self.assertEqual(self.admission.member(member), expected)

    def test_as_whom_they_send(self) -> None:
        caller = Caller("acme/shop", frozenset(), "acme", ("example.com",))
        bound = ("@example.com",), ("example.com",)
        self.assertEqual(user_of(caller), User("acme/shop", *bound, tenant="acme"))
        self.assertEqual(user_of(caller, "ann", "0"), User("ann", *bound, tenant="acme", key="0"))


class Rates(SynchronousTestCase):
    @given(st.lists(st.floats(0, 30), max_size=60))
    def test_never_more_than_twice_in_a_unit(self, pauses: list[float]) -> None:
        """A full bucket, and what comes in meanwhile."""
        allowance, now, taken = Allowance(((5.0, 10.0),)), 0.0, []
        for pause in pauses:
            now += pause
            wait = allowance.take(now)
            self.assertGreaterEqual(wait, 0.0)
            if not wait:
                taken.append(now)
        for begin in taken:
            self.assertLessEqual(sum(begin <= when < begin + 10 for when in taken), 10)

    def test_what_is_told_to_wait_is_enough(self) -> None:
        allowance = Allowance(((0.5, 1.0), (10.0, 60.0)))
        now = 0.0
        for _ in range(30):
            wait = allowance.take(now)
            if wait:
                now += wait
                self.assertEqual(allowance.take(now), 0.0)


class Unchanged(SynchronousTestCase):
    def test_a_key_as_it_is_kept(self) -> None:
        """What is on the shelf today can be read tomorrow."""
        key = ApiKey("0" * 12, "shop", b"\1" * 32, (Scope.SUBMIT,), "acme", ("example.com",), created=1)
        kept = (
            b"\x8b\xa2id\xac000000000000\xa4name\xa4shop\xa4hash\xc4 " + b"\1" * 32 + b"\xa6scopes\x91\xa6submit"
            b"\xa6tenant\xa4acme\xa7domains\x91\xabexample.com\xa8networks\x90\xa5rates\x90\xa7created\x01"
            b"\xa7expires\x00\xa4used\x00"
        )
        keys: Records[ApiKey] = Records("keys", b"k/", ApiKey, 1)
        self.assertEqual(keys.value(key), kept)
        keys.read(key.id, kept)
        self.assertEqual(keys.get(key.id), key)
