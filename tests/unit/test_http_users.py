"""Users of the file by the API: what they may, what they have used, and nothing that proves who they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.access.access import Access
from relay.access.caller import Scope
from relay.access.passwords import HASHER
from relay.access.roll import Roll
from relay.access.scram import derive
from relay.access.tenant import Tenant
from relay.config.schema import Access as Section
from relay.http.users import UsersApi
from tests.unit.api_rig import NOW, Rig
from tests.unit.suppression_rig import FakeShelf

HASH = HASHER.hash("wonderland")
KEYS = str(derive("builder", b"salt", 4096))
TEXT = f"""[users."Bob@example.com"]
scram = "{KEYS}"
tenant = "acme"
[users.alice]
password = "{HASH}"
senders = ["alice@example.com", "@example.org"]
from_domains = ["example.com"]
zone = "bulk"
messages = ["2/m", "100/d"]
[users.carol]
tenant = "acme"
[users."dé/1"]
password = "{HASH}"
disabled = true
"""


class UsersApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path, self.clock = Path(self.mktemp()), Clock()
        self.path.write_text(TEXT)
        section = Section(users=str(self.path), recipients=("1000/h",))
        self.access = Access(section, self.clock, lambda: NOW, Roll(FakeShelf(), lambda: NOW))
        self.rig = Rig(more=(UsersApi(self.access.directory),))

    def get(self, path: str, key: str = "") -> Any:
        answer = self.rig.request("GET", path, **({"Authorization": f"Bearer {key}"} if key else {}))
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def names(self, query: str = "", key: str = "") -> list[str]:
        return [user["name"] for user in self.get(f"/v1/users?{query}", key)["items"]]

    def test_one(self) -> None:
        alice = self.access.by_name("ALICE")
        assert alice is not None
        self.access.charge(alice, 3)
        self.access.charge(alice, 4)
        self.assertEqual(
            self.get("/v1/users/Alice"),
            {
                "name": "alice",
                "tenant": None,
                "senders": ["alice@example.com", "@example.org"],
                "from_domains": ["example.com"],
                "zone": "bulk",
                "proofs": ["password"],
                "disabled": False,
                "limits": [
                    {"what": "messages", "limit": 2, "seconds": 60, "used": 2},
                    {"what": "messages", "limit": 100, "seconds": 86400, "used": 2},
                    {"what": "recipients", "limit": 1000, "seconds": 3600, "used": 7},
                ],
            },
        )
        answer = self.rig.get("/v1/users/eve")
        self.assertEqual((answer.status, answer.problem["detail"]), (404, 'There is no user "eve"'))

    def test_all_in_parts(self) -> None:
        items = self.get("/v1/users")["items"]
        self.assertEqual(
            [(user["name"], user["tenant"], user["proofs"], user["disabled"]) for user in items],
            [
                ("alice", None, ["password"], False),
                ("Bob@example.com", "acme", ["scram"], False),
                ("carol", "acme", [], False),
                ("dé/1", None, [], True),
            ],
        )
        self.assertEqual(items[1]["limits"], [{"what": "recipients", "limit": 1000, "seconds": 3600, "used": 0}])
        first = self.get("/v1/users?limit=2")
        self.assertEqual(first["next"], "Bob@example.com")
        second = self.get("/v1/users?limit=2&cursor=Bob@example.com")
        self.assertEqual((first["items"] + second["items"], second["next"]), (items, None))

    def test_of_an_organisation(self) -> None:
        self.assertEqual(self.names("tenant=acme"), ["Bob@example.com", "carol"])
        self.assertEqual(self.get("/v1/users?tenant=acme&limit=1")["next"], "Bob@example.com")
        self.assertEqual(self.names("tenant=other"), [])

    def test_who_may(self) -> None:
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        acme = self.rig.key(Scope.ADMIN, tenant="acme")
        self.assertEqual(self.names("", acme), ["Bob@example.com", "carol"])
        self.assertEqual(self.names("tenant=other", acme), [])
        self.assertEqual(self.get("/v1/users/carol", acme)["name"], "carol")
        for path, key, status in (
            ("/v1/users/alice", acme, 404),
            ("/v1/users", self.rig.key(Scope.READ, Scope.OPERATE), 403),
        ):
            self.assertEqual(self.rig.request("GET", path, Authorization=f"Bearer {key}").status, status)

    def test_nothing_secret(self) -> None:
        body = self.rig.get("/v1/users").body.decode()
        for secret in (HASH, HASH.rpartition("$")[2], KEYS, KEYS.rpartition(":")[2], "argon2", "SCRAM-SHA-256$"):
            self.assertNotIn(secret, body)

    def test_as_the_file_is_now(self) -> None:
        self.assertEqual(len(self.names()), 4)
        self.path.write_text(TEXT.replace("carol", "carla") + "[users.zoe]\n")
        self.clock.advance(2)
        self.assertEqual(self.names(), ["alice", "Bob@example.com", "carla", "dé/1", "zoe"])

    def test_without_a_file(self) -> None:
        access = Access(Section(), self.clock, lambda: NOW, Roll(FakeShelf(), lambda: NOW))
        rig = Rig(more=(UsersApi(access.directory),))
        self.assertEqual(rig.get("/v1/users").json, {"items": [], "next": None})
        self.assertEqual(rig.get("/v1/users/alice").status, 404)
