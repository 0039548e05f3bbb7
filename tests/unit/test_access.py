"""Logins as a listener carries them: by the users' file, by a service, and what wrong guesses cost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from relay.access.access import Access
from relay.access.apikey import ApiKey
from relay.access.basic import BasicService, Unanswered
from relay.access.caller import Scope
from relay.access.exchange import LoginExchange, Wrong
from relay.access.login import Client
from relay.access.mechanisms import Password
from relay.access.passwords import HASHER, MOST
from relay.access.refused import Refused
from relay.access.roll import Roll
from relay.access.scram import derive
from relay.access.tenant import OWN, Role, Tenant
from relay.access.users import BadUsers, Users, read
from relay.config.schema import Access as Section
from relay.message.user import User
from tests.unit.suppression_rig import FakeShelf

CLIENT = Client("192.0.2.1", "client.test")
ALICE = User("alice", ("alice@example.com",), zone="bulk", tenant="acme")


def plain(name: str, password: str) -> bytes:
    return f"\0{name}\0{password}".encode()


class Skewed:
    """The reactor, but for its clock, which runs by `advance`; pauses are waited for at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pauses: list[float] = []

    def callLater(self, seconds: float, call: Callable[..., Any], *args: Any) -> Any:
        if seconds <= 5.0 and seconds:
            self.pauses.append(seconds)
        return self.clock.callLater(seconds, call, *args)

    def seconds(self) -> float:
        return self.clock.seconds()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class LoginCase(TestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        Path(self.path).write_text(
            f'[users.alice]\npassword = "{HASHER.hash("wonderland")}"\nsenders = ["alice@example.com"]\nzone = "bulk"\n'
            'tenant = "acme"\n'
            f'[users.bob]\nscram = "{derive("builder", b"salt", 4096)}"\n'
            f'[users.gone]\npassword = "{HASHER.hash("wonderland")}"\ndisabled = true\n'
            '[users."carol@example.com"]\n'
        )
        self.skewed = Skewed()
        self.roll = Roll(FakeShelf(), lambda: 0)
        self.access = self.made(Section(users=self.path, attempts=3))

    def made(self, section: Section) -> Access:
        access = Access(section, self.skewed, lambda: 1000, self.roll)
        self.addCleanup(access.stop)
        return access

    async def step(self, exchange: LoginExchange, response: bytes | None) -> bytes | User:
        """One step, with pauses cut short."""
        stepped = exchange.step(response)
        while not stepped.called:
            await self.moment()
        return await stepped

    async def moment(self) -> None:
        """Time goes on when nothing is being checked: a thread takes none."""
        self.skewed.clock.advance(0 if len(self.access._turns) else 0.125)
        await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def login(self, *responses: bytes | None, mechanism: str = "PLAIN", client: Client = CLIENT) -> bytes | User:
        exchange = self.access.authenticate(mechanism, client)
        said: bytes | User = b""
        for response in responses:
            said = await self.step(exchange, response)
        return said

    async def refusal(self, *responses: bytes | None, **more: Any) -> str:
        try:
            await self.login(*responses, **more)
        except Refused as refused:
            return str(refused.reply)
        raise self.failureException("was let in")


class Logins(LoginCase):
    async def test_right(self) -> None:
        self.assertEqual(await self.login(plain("alice", "wonderland")), ALICE)
        self.assertEqual(await self.login(plain("ALICE", "wonderland")), ALICE)
        self.assertEqual(await self.login(None, b"alice", b"wonderland", mechanism="LOGIN"), ALICE)
        self.assertEqual(await self.login(plain("bob", "builder")), User("bob"), "by keys alone")

    async def test_wrong_in_the_same_words_S48(self) -> None:
        wrong = "535 5.7.8 Error: Invalid username or password"
        self.assertEqual(await self.refusal(plain("alice", "looking-glass")), wrong)
        self.assertEqual(await self.refusal(plain("nobody", "looking-glass")), wrong)
        self.assertEqual(await self.refusal(plain("gone", "wonderland")), wrong)
        self.assertEqual(await self.refusal(plain("carol@example.com", "x")), wrong)
        self.assertEqual(await self.refusal(b"garbage"), wrong)
        self.assertTrue(self.skewed.pauses)

    async def test_whom_a_trusted_relay_names_S50(self) -> None:
        self.assertEqual(await self.login(b"ALICE", mechanism="XCLIENT"), ALICE)
        self.assertEqual(await self.login(b"stranger", mechanism="XCLIENT"), User("stranger"))
        self.assertEqual(
            await self.refusal(b"gone", mechanism="XCLIENT"), "535 5.7.8 Error: Invalid username or password"
        )

    async def test_brute_force_S48(self) -> None:
        for number in range(3):
            self.assertIn("535", await self.refusal(plain("alice", f"guess {number}")))
        self.assertIn("421 4.7.0", await self.refusal(plain("alice", "wonderland")), "even with the right one")
        self.assertEqual(await self.login(plain("alice", "wonderland"), client=Client("192.0.2.9")), ALICE)

    async def settle(self, waiting: list[Any]) -> list[str]:
        """How exchanges that run side by side end."""
        ends: list[str] = []
        for stepped in waiting:
            stepped.addCallbacks(lambda user: ends.append(user.name), lambda no: ends.append(str(no.value.reply.code)))
        while len(ends) < len(waiting):
            await self.moment()
        return ends

    def checks(self) -> list[str]:
        """The passwords that are really looked at from now on."""
        looked: list[str] = []
        real = self.access._passwords._check
        self.patch(self.access._passwords, "_check", lambda *args: (looked.append(args[0]), real(*args))[1])
        return looked

    def begin(self, name: str, password: str, address: str = CLIENT.address) -> Any:
        return self.access.authenticate("PLAIN", Client(address)).step(plain(name, password))

    async def test_guesses_side_by_side_S48(self) -> None:
        looked = self.checks()
        ends = await self.settle([self.begin("alice", f"guess {number}") for number in range(20)])
        self.assertEqual(sorted(ends), ["421"] * 17 + ["535"] * 3)
        self.assertEqual(len(looked), 3, "no more than `attempts` are looked at")
        self.assertEqual(len(self.access._turns), 0)

    async def test_good_logins_side_by_side(self) -> None:
        """More than calls can be deep; only the first costs a check."""
        looked = self.checks()
        ends = await self.settle([self.begin("alice", "wonderland") for _ in range(1500)])
        self.assertEqual(set(ends), {"alice"})
        self.assertEqual(len(looked), 1)

    async def test_who_hangs_up_is_counted_S48(self) -> None:
        for number in range(3):
            exchange = self.access.authenticate("PLAIN", CLIENT)
            self.failureResultOf(self._cancelled(exchange, f"guess {number}"), CancelledError)
            while len(self.access._turns):
                await self.moment()
        self.assertIn("421", await self.refusal(plain("alice", "wonderland")))

    def _cancelled(self, exchange: LoginExchange, password: str) -> Any:
        stepped = exchange.step(plain("alice", password))
        exchange.cancel()
        return stepped

    async def test_checks_nobody_waits_for_are_bounded_S48(self) -> None:
        gone = []
        for number in range(MOST + 50):
            exchange = self.access.authenticate("PLAIN", Client(f"198.51.100.{number}"))
            stepped = exchange.step(plain("alice", "x"))
            exchange.cancel()
            gone.append(stepped.addErrback(lambda failure: None))
        self.assertEqual(self.access._passwords.waiting, MOST)
        self.assertIn("454 4.7.0", await self.refusal(plain("alice", "x"), client=Client("203.0.113.1")))
        while self.access._passwords.waiting:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    async def test_refusals_take_the_same_time_S48(self) -> None:
        """However long the check takes, which is another time for each kind of user."""
        slow = self.access._passwords.matches

        def slower(password: str, kept: str, keys: Any) -> Any:
            self.skewed.clock.advance(0.375 if kept else 0.125 if keys else 0.25)
            return slow(password, kept, keys)

        self.patch(self.access._passwords, "matches", slower)
        took = []
        for number, name in enumerate(("alice", "bob", "nobody", "gone", "carol@example.com")):
            begun = self.skewed.seconds()
            await self.refusal(plain(name, "x"), client=Client(f"192.0.2.{number + 10}"))
            took.append(self.skewed.seconds() - begun)
        self.assertEqual(set(took), {0.5})

    async def test_scram_exchanges_begun_together_S48(self) -> None:
        """The lock falls between the first word and the proof."""
        begun = [self.access.authenticate("SCRAM-SHA-256", CLIENT) for _ in range(6)]
        for exchange in begun:
            await self.step(exchange, b"n,,n=bob,r=abc")
        ends = await self.settle([exchange.step(b"c=biws,r=x,p=eA==") for exchange in begun])
        self.assertEqual(sorted(ends), ["421"] * 3 + ["535"] * 3)

    async def test_names_forge_no_line_of_the_log(self) -> None:
        lines: list[str] = []
        observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.refusal(plain("a\r\n\x1b[2Jb", "secret word"))
        told = [line for line in lines if line.startswith("login of ")]
        self.assertEqual(len(told), 1)
        self.assertTrue(told[0].isprintable(), told)
        self.assertNotIn("secret word", "".join(lines))

    async def test_scram(self) -> None:
        await self._scram("bob", "builder")
        try:
            await self._scram("bob", "destroyer")
        except Refused as refused:
            self.assertEqual(refused.reply.code, 535)
        try:
            await self._scram("nobody", "builder")
        except Refused as refused:
            self.assertEqual(refused.reply.code, 535)
        else:
            raise self.failureException("somebody unknown was let in")

    async def _scram(self, name: str, password: str) -> None:
        """The client's side, by the formulas of RFC 5802 3."""
        exchange = self.access.authenticate("SCRAM-SHA-256", CLIENT)
        bare = f"n={name},r=abc"
        challenge = await self.step(exchange, f"n,,{bare}".encode())
        assert isinstance(challenge, bytes)
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c=biws,r={fields['r']}"
        said = ",".join((bare, challenge.decode(), without)).encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        last = await self.step(exchange, f"{without},p={proof}".encode())
        expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        self.assertEqual(last, b"v=" + base64.b64encode(expected))
        self.assertEqual(await self.step(exchange, b""), User(name))

    def test_an_unknown_users_salt_stays_the_same(self) -> None:
        self.assertEqual(self.access.keys("nobody"), self.access.keys("nobody"))
        self.assertEqual(self.access.keys("nobody"), self.access.keys("NoBody"), "as a known one's does")
        self.assertNotEqual(self.access.keys("nobody").salt, self.access.keys("somebody").salt)

    async def test_certificate(self) -> None:
        shown = Client("192.0.2.1", certificate=("mail.example.com", "carol@example.com"))
        self.assertEqual(await self.login(b"", mechanism="EXTERNAL", client=shown), User("carol@example.com"))
        self.assertEqual(
            await self.login(b"Carol@example.com", mechanism="EXTERNAL", client=shown), User("carol@example.com")
        )
        self.assertIn("535", await self.refusal(b"alice", mechanism="EXTERNAL", client=shown))
        self.assertIn("535", await self.refusal(b"", mechanism="EXTERNAL"))
        self.assertIn("535", await self.refusal(b"alice", mechanism="EXTERNAL"))

    def test_unknown_mechanism(self) -> None:
        self.assertEqual(self.assertRaises(Refused, self.access.authenticate, "CRAM-MD5", CLIENT).reply.code, 504)

    def test_what_is_usable(self) -> None:
        every = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL")
        self.assertEqual(self.access.usable(every), ("PLAIN", "LOGIN", "EXTERNAL"))
        self.assertEqual(self.made(Section()).usable(every), ("PLAIN", "LOGIN"), "for API keys")
        self.assertEqual(self.made(Section(url="http://127.0.0.1/")).usable(every), ("PLAIN", "LOGIN"))

    def test_scram_shuts_nobody_out(self) -> None:
        """A client that prefers it gets no second try: it is offered where all have keys, or for itself."""
        every = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL")
        self.assertEqual(self.access.usable(every[2:]), every[2:])
        path = self.mktemp()
        keys = derive("builder", b"salt", 4096)
        Path(path).write_text(f'[users.bob]\nscram = "{keys}"\n[users.carol]\n')
        self.assertEqual(self.made(Section(users=path)).usable(every), every)
        with_service = self.made(Section(users=path, url="http://127.0.0.1/"))
        self.assertEqual(with_service.usable(every), ("PLAIN", "LOGIN", "EXTERNAL"))
        self.roll.add_key(ApiKey("", "reader", b"", (Scope.READ,)))
        self.assertEqual(self.made(Section(users=path)).usable(every), every)
        self.roll.add_key(ApiKey("", "shop", b"", (Scope.SUBMIT,)))
        self.assertEqual(self.made(Section(users=path)).usable(every), ("PLAIN", "LOGIN", "EXTERNAL"))
        Path(path).write_text("[users.carol]\n")
        self.assertEqual(self.made(Section(users=path)).usable(every), ("PLAIN", "LOGIN", "EXTERNAL"))

    async def test_remembered_until_the_file_changes(self) -> None:
        calls: list[str] = []
        real = self.access._passwords.matches
        self.patch(self.access._passwords, "matches", lambda *args: (calls.append(args[0]), real(*args))[1])
        await self.login(plain("alice", "wonderland"))
        await self.login(plain("alice", "wonderland"))
        self.assertEqual(len(calls), 1)
        text = Path(self.path).read_text().replace("[users.gone]", "[users.went]")
        Path(self.path).write_text(text)
        os.utime(self.path, (1, 1))
        self.skewed.clock.advance(2)
        await self.login(plain("alice", "wonderland"))
        self.assertEqual(len(calls), 2)


class Keys(LoginCase):
    """API keys as passwords."""

    def key(self, *scopes: Scope, **more: Any) -> str:
        made = self.roll.add_key(ApiKey("", more.pop("name", "shop"), b"", scopes, **more))
        return str(self.successResultOf(made))

    async def test_by_its_name_or_its_id(self) -> None:
        self.roll.add_tenant(Tenant("acme", "Acme"))
        text = self.key(Scope.SUBMIT, tenant="acme", domains=("example.com",))
        [key] = self.roll.keys
        expected = User("acme/shop", ("@example.com",), ("example.com",), tenant="acme", key=key.id)
        for name in ("shop", "SHOP", "acme/shop", key.id, f"zr_{key.id}"):
            self.assertEqual(await self.login(plain(name, text)), expected, name)
        self.assertEqual(await self.login(None, b"shop", text.encode(), mechanism="LOGIN"), expected)
        self.assertIn("535", await self.refusal(plain("alice", text)))

    async def test_wrong_in_the_same_words_as_a_password(self) -> None:
        text = self.key(Scope.SUBMIT)
        wrong = "535 5.7.8 Error: Invalid username or password"
        self.assertEqual(await self.refusal(plain("shop", text[:-2] + "AA")), wrong)
        self.assertTrue(self.skewed.pauses)
        self.assertEqual(await self.refusal(plain("shop", text[:-1])), wrong, "of another form")
        [key] = self.roll.keys
        self.roll.revoke(key.id)
        self.assertEqual(await self.refusal(plain("shop", text)), wrong)

    async def test_guessing(self) -> None:
        text = self.key(Scope.SUBMIT)
        for _ in range(3):
            self.assertIn("535", await self.refusal(plain("shop", text[:-2] + "AA")))
        self.assertIn("421 4.7.0", await self.refusal(plain("shop", text)), "even with the right one")
        self.assertIsInstance(await self.login(plain("shop", text), client=Client("192.0.2.9")), User)

    async def test_what_it_is_not_for(self) -> None:
        self.assertIn("not for handing over mail", await self.refusal(plain("r", self.key(Scope.READ, name="r"))))
        elsewhere = self.key(Scope.SUBMIT, name="e", networks=("198.51.100.0/24",))
        self.assertIn("535", await self.refusal(plain("e", elsewhere)))
        self.assertIsInstance(await self.login(plain("e", elsewhere), client=Client("198.51.100.1")), User)
        self.assertIn("535", await self.refusal(plain("o", self.key(Scope.SUBMIT, name="o", expires=1))))

    async def test_too_often(self) -> None:
        text = self.key(Scope.SUBMIT, rates=("1/m",))
        await self.login(plain("shop", text))
        self.assertIn("454 4.7.0 Too many requests", await self.refusal(plain("shop", text)))

    async def test_who_has_logged_in_with_one_that_was_revoked(self) -> None:
        user = await self.login(plain("shop", self.key(Scope.SUBMIT)))
        assert isinstance(user, User)
        self.access.check_stands(user)
        self.access.check_stands(ALICE)
        [key] = self.roll.keys
        self.roll.revoke(key.id)
        self.assertRaises(Refused, self.access.check_stands, user)

    async def test_members_are_asked_by_their_password(self) -> None:
        member = self.successResultOf(self.roll.add_member("ann", OWN, Role.OWNER, await self.access.hashed("good")))
        self.assertEqual(await self.access.member(CLIENT, Password("Ann", "good")), member)
        for name, password in (("ann", "bad"), ("nobody", "good"), ("alice", "wonderland")):
            with self.assertRaises(Wrong):
                await self.access.member(CLIENT, Password(name, password))
        self.assertIn("535", await self.refusal(plain("ann", "good")), "mail is not theirs to hand over")


class Service(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes, bytes]] = []
        self.status = 401

    def render_GET(self, request: Any) -> bytes:
        self.asked.append((request.uri, request.getUser(), request.getPassword()))
        request.setResponseCode(self.status)
        request.setHeader(b"Location", b"http://127.0.0.1:1/")
        return b"x" * 100_000


class AskedService(Logins):
    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        port = reactor.listenTCP(0, Site(self.service), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/auth?x=1"
        self.access = self.made(Section(users=self.path, url=url, attempts=3, timeout=5.0))

    async def test_the_service_is_asked_for_who_is_not_in_the_file(self) -> None:
        self.service.status = 200
        self.assertEqual(await self.login(plain("dora", "explorer")), User("dora"))
        self.assertEqual(self.service.asked, [(b"/auth?x=1&transport=SMTP", b"dora", b"explorer")])
        self.assertEqual(await self.login(plain("dora", "explorer")), User("dora"))
        self.assertEqual(len(self.service.asked), 1, "a good answer is remembered")

    async def test_what_it_answers(self) -> None:
        for status, code in ((401, "535"), (403, "535"), (404, "454"), (500, "454"), (302, "454"), (204, "")):
            self.service.status = status
            try:
                await self.login(plain("dora", f"explorer {status}"), client=Client(f"192.0.2.{status % 250}"))
            except Refused as refused:
                self.assertEqual(str(refused.reply.code), code, str(status))
            else:
                self.assertEqual(code, "", str(status))
        self.flushLoggedErrors()


class BusyService(TestCase):
    async def test_the_wait_is_bounded(self) -> None:
        """The time to wait for a turn is part of the time for the answer."""
        clock = Clock()
        service = BasicService("http://127.0.0.1:1/", 10.0, clock)
        held = [service._turns.acquire() for _ in range(20)]
        asked = Deferred.fromCoroutine(service.knows("a", "b"))
        clock.advance(9.9)
        self.assertNoResult(asked)
        clock.advance(0.2)
        self.failureResultOf(asked, Unanswered)
        self.assertEqual(len(service._turns.waiting), 0)
        waiting = [Deferred.fromCoroutine(service.knows("a", "b")) for _ in range(300)]
        self.failureResultOf(waiting[-1], Unanswered)
        clock.advance(10.1)
        for one in waiting[:-1]:
            if one is not None:
                one.addErrback(lambda failure: failure.trap(Unanswered))
        self.assertEqual(len(held), 20)


class UsersFile(TestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.clock = Clock()

    def write(self, text: str) -> None:
        Path(self.path).write_text(text)

    def test_what_is_wrong_is_said_in_one_line(self) -> None:
        for text, why in (
            ("users = 1", "expected tables"),
            ("[others]", "expected tables"),
            ("[users.a]\npassword = 'x'", 'users."a": password: expected an argon2 hash'),
            ("[users.a]\nscram = 'x'", "not of the form"),
            ("[users.a]\nsender = []", "unknown field `sender`"),
            ("[users.a]\nmessages = ['5/s']", 'expected a limit such as "60/m"'),
            ("[users.a]\nsenders = ['a b']", 'users."a": senders: expected an address'),
            ("[users.a]\nsenders = ['@a b']", 'users."a": '),
            ("[users.a]\nfrom_domains = ['@a.example']", 'users."a": from_domains: expected a domain'),
            ("[users.a]\n[users.A]", "by case alone"),
            ("[", "can't be read"),
            ("a = " + 10_000 * "[", "can't be read"),
            ("a = " + 5_000 * "9", "can't be read"),
            ('[users."a\\nb"]\nx = 1', "unknown field `x`"),
            ('[users.a]\n"x\\ny" = 1', "unknown field `x?y`"),
        ):
            self.write(text)
            said = str(self.assertRaises(BadUsers, read, self.path))
            self.assertIn(why, said)
            self.assertTrue(said.startswith(self.path))
            self.assertNotIn("\n", said)
        self.assertIn("can't be read", str(self.assertRaises(BadUsers, read, self.path + ".none")))

    def test_names_are_kept_as_they_are_compared(self) -> None:
        self.write("[users.a]\nsenders = ['@MÜNCHEN.example']\nfrom_domains = ['münchen.example', 'B.example']\n")
        user = read(self.path)["a"].user
        self.assertEqual(user.senders, ("@xn--mnchen-3ya.example",))
        self.assertEqual(user.from_domains, ("xn--mnchen-3ya.example", "b.example"))

    def test_read_again_when_it_changes(self) -> None:
        self.write("[users.a]\n")
        users = Users(self.path, self.clock.seconds)
        self.write("[users.a]\n[users.bb]\n")
        self.assertIs(users.get("bb"), None, "not looked at more than once a second")
        self.clock.advance(1)
        self.assertIsNot(users.get("bb"), None)
        self.write("[users.a]\n[[[")
        self.clock.advance(1)
        self.assertIsNot(users.get("bb"), None, "a broken file changes nothing")
        os.unlink(self.path)
        self.clock.advance(1)
        self.assertIsNot(users.get("bb"), None)
