"""The one resource that is for strangers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.http.unsubscribe import MOST, UnsubscribeApi
from relay.queue.store import StoreError
from tests.unit.api_rig import Rig

CLICK = b"List-Unsubscribe=One-Click"


class FakeWishes:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.broken = False

    def knows(self, token: str) -> bool:
        return token == "ours"

    async def wish(self, token: str, client: str) -> bool:
        if self.broken:
            raise StoreError("full")
        self.told.append((token, client))
        return token == "ours"


class UnsubscribeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wishes = FakeWishes()
        self.clock = Clock()
        self.rig = self.make()

    def make(self, **options: object) -> Rig:
        api = UnsubscribeApi(self.wishes, self.clock.seconds)
        return Rig(peer="203.0.113.9", clock=self.clock, more=[api], **options)  # type: ignore[arg-type]

    def test_by_one_click_from_anywhere(self) -> None:
        answer = self.rig.request("POST", "/unsubscribe/ours", CLICK, Host="mail.example.com")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"You are unsubscribed", answer.body)
        self.assertEqual(self.wishes.told, [("ours", "203.0.113.9")])

    def test_as_a_form_of_many_parts(self) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
        kind = "multipart/form-data; boundary=x"
        self.assertEqual(self.rig.request("POST", "/unsubscribe/ours", body, Content_Type=kind).status, 200)

    def test_by_hand(self) -> None:
        """Whoever only looks unsubscribes nobody, and learns nothing; the button does, from the page's own place."""
        pages = [self.rig.get(f"/unsubscribe/{token}") for token in ("ours", "others")]
        self.assertEqual(pages[0], pages[1])
        self.assertIn(b"<form method=\"post\">", pages[0].body)
        self.assertIn("default-src 'none'", pages[0].headers["content-security-policy"])
        self.assertEqual(self.wishes.told, [])
        answer = self.rig.request(
            "POST",
            "/unsubscribe/ours",
            CLICK,
            Host="mail.example.com",
            Origin="https://mail.example.com",
            Sec_Fetch_Site="same-origin",
        )
        self.assertEqual(answer.status, 200)

    def test_what_is_not_meant(self) -> None:
        self.assertEqual(self.rig.request("POST", "/unsubscribe/ours", b"x=y").status, 400)
        self.assertEqual(self.rig.request("PUT", "/unsubscribe/ours", CLICK).status, 405)
        self.assertEqual(self.wishes.told, [])
        self.assertEqual(self.rig.request("POST", "/unsubscribe/others", CLICK).status, 404)

    def test_nothing_else_is_for_strangers(self) -> None:
        for path in (
            "/zones", "/unsubscribe", "/unsubscribes/x", "//unsubscribe/ours", "/unsubscribe/../zones",
            "/unsubscribe/..%2Fzones", "/unsubscribe/ours/../../zones",
        ):  # fmt: skip
            answer = self.rig.get(path)
            self.assertIn(answer.status, (401, 404), path)
            self.assertNotIn(b"default", answer.body)

    def test_where_the_api_is_closed(self) -> None:
        rig = self.make(open_loopback=False)
        self.assertEqual(rig.get("/zones").status, 401)
        self.assertEqual(rig.request("POST", "/unsubscribe/ours", CLICK).status, 200)

    def test_no_more_than_so_often(self) -> None:
        statuses = [self.rig.request("POST", "/unsubscribe/others", CLICK).status for _ in range(MOST + 2)]
        self.assertEqual(statuses, [404] * (MOST + 2))
        self.assertEqual(self.wishes.told, [])
        # Whoever guesses takes nothing from those who mean it.
        statuses = [self.rig.request("POST", "/unsubscribe/ours", CLICK).status for _ in range(MOST + 2)]
        self.assertEqual(statuses, [200] * MOST + [429] * 2)
        self.clock.advance(1)
        self.assertEqual(self.rig.request("POST", "/unsubscribe/ours", CLICK).status, 200)

    def test_a_disk_that_takes_nothing(self) -> None:
        self.wishes.broken = True
        self.assertEqual(self.rig.request("POST", "/unsubscribe/ours", CLICK).status, 503)

    def test_where_nothing_comes_back(self) -> None:
        rig = Rig(more=[UnsubscribeApi(None, self.clock.seconds)])
        self.assertEqual(rig.get("/unsubscribe/ours").status, 404)
        self.assertEqual(rig.request("POST", "/unsubscribe/ours", CLICK).status, 404)
