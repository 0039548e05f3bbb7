"""What happens around every operation: fields are checked, scopes are asked for, errors have their shape."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.trial.unittest import SynchronousTestCase

from relay.access.caller import NOBODY, Caller, Scope
from relay.http.answer import Problem
from relay.http.fields import wrong
from relay.http.frame import Call, Frame
from relay.http.operation import operation, operations
from tests.unit.api_rig import Rig


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many")] = 100
    kind: tuple[str, ...] = ()
    deep: bool = False


class Part(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]


class Given(msgspec.Struct, forbid_unknown_fields=True):
    subject: str
    parts: list[Part] = []


class Thing(msgspec.Struct):
    id: str
    said: list[Any]


class ThingsApi:
    @operation("GET", "/v1/things", scope=Scope.READ, tag="things", query=Asked, answer=Thing)
    def things(self, call: Call) -> Thing:
        """Shows things.

        At length.
        """
        return Thing("all", [call.query.limit, *call.query.kind, call.query.deep])

    @operation("POST", "/v1/things", scope=Scope.SUBMIT, tag="things", body=Given, answer=Thing, status=201)
    async def make(self, call: Call) -> Thing:
        """Makes one."""
        return Thing("new", [call.body.subject, *(part.name for part in call.body.parts)])

    @operation("DELETE", "/v1/things/{id}", scope=Scope.OPERATE, tag="things", status=204)
    def end(self, call: Call, id: str) -> None:
        """Ends one."""
        if id != "x":
            raise wrong("id", "no such thing")


class FrameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(more=[ThingsApi()])

    def test_a_query(self) -> None:
        for query, said in (
            ("", [100, False]),
            ("?limit=5&kind=a,b&kind=c&deep=true", [5, "a", "b", "c", True]),
            ("?kind=%C3%A9,", [100, "é", False]),
        ):
            answer = self.rig.get("/v1/things" + query)
            self.assertEqual((answer.status, answer.json), (200, {"id": "all", "said": said}))

    def test_a_query_that_can_not_stand(self) -> None:
        for query, field, words in (
            ("limit=0", "limit", "limit: expected a whole number >= 1, got \"0\""),
            ("limit=ten", "limit", "limit: expected a whole number, got \"ten\""),
            ("limit=" + "9" * 5000, "limit", "limit: integer value out of range"),
            ("limit=5&limit=6", "limit", "limit: expected it once"),
            ("limt=5", "limt", 'limt: unknown field; did you mean "limit"?'),
            ("zzzzz=5", "zzzzz", "zzzzz: unknown field; expected one of limit, kind, deep"),
            ("deep=maybe", "deep", "deep: expected true or false, got \"maybe\""),
            ("kind=%ff", "kind", "kind: expected UTF-8"),
        ):
            answer = self.rig.get("/v1/things?" + query)
            problem = answer.problem
            self.assertEqual((answer.status, problem["code"], problem["field"]), (400, "InvalidArgument", field))
            self.assertTrue(problem["detail"].startswith(words), problem)

    def test_a_body(self) -> None:
        answer = self.rig.request("POST", "/v1/things", b'{"subject": "x", "parts": [{"name": "a"}]}')
        self.assertEqual((answer.status, answer.json), (201, {"id": "new", "said": ["x", "a"]}))

    def test_a_body_that_can_not_stand(self) -> None:
        for body, field, words in (
            (b"{}", "subject", "subject: it is missing"),
            (b'{"subject": null}', "subject", "subject: expected a string, got null"),
            (b'{"subject": "x", "parts": [{"name": "a"}, {}]}', "parts[1].name", "parts[1].name: it is missing"),
            (b'{"subject": "x", "parts": [{"name": ""}]}', "parts[0].name", "expected a string of length >= 1"),
            (b'{"subject": "x", "parts": [{"name": "a", "b": 1}]}', "parts[0].b", "unknown field"),
            (b'{"subjekt": "x"}', "subjekt", 'did you mean "subject"?'),
            (b'{"__proto__": "x"}', "__proto__", "expected one of subject, parts"),
        ):
            answer = self.rig.request("POST", "/v1/things", body)
            self.assertEqual((answer.status, answer.problem["field"]), (400, field), answer.body)
            self.assertIn(words, answer.problem["detail"])
        for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 10_000, b'\xef\xbb\xbf{}'):
            answer = self.rig.request("POST", "/v1/things", body)
            self.assertEqual((answer.status, answer.problem["code"]), (400, "InvalidContent"), body)

    @given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
    def test_H01_whatever_is_sent(self, body: bytes) -> None:
        self.assertIn(self.rig.request("POST", "/v1/things", body).status, (201, 400))

    def test_nothing_to_say(self) -> None:
        answer = self.rig.request("DELETE", "/v1/things/x")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(self.rig.request("DELETE", "/v1/things/y").problem["field"], "id")

    def test_too_much(self) -> None:
        client = self.rig.connect()
        client.head("POST", "/v1/things", 64 * 1024 + 1)
        self.assertEqual(client.answer().problem["code"], "RequestEntityTooLarge")

    def test_who_has_not_the_scope(self) -> None:
        class Request:
            limit = 0
            caller = NOBODY

        for declared, method in operations(ThingsApi()):
            frame, request = Frame(declared, method), Request()
            for scopes in (set(), set(Scope) - {declared.scope}):
                request.caller = Caller("key", frozenset(scopes))  # type: ignore[arg-type]
                problem = self.assertRaises(Problem, frame.admit, request)  # type: ignore[arg-type]
                self.assertEqual(problem.status, 403)
            scopes = frozenset({declared.scope})
            request.caller = Caller("key", scopes)  # type: ignore[arg-type]
            frame.admit(request)  # type: ignore[arg-type]
            request.caller = Caller("key", scopes, tenant="acme")  # type: ignore[arg-type]
            problem = self.assertRaises(Problem, frame.admit, request)  # type: ignore[arg-type]
            self.assertIn("the whole relay", problem.body["message"])
            Frame(declared._replace(by_tenant=True), method).admit(request)  # type: ignore[arg-type]


class DocumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.document = Rig(more=[ThingsApi()]).get("/openapi.json").json

    def test_it_is_one(self) -> None:
        OpenAPIV31SpecValidator(self.document).validate()

    def test_what_is_declared(self) -> None:
        paths = self.document["paths"]
        things = paths["/v1/things"]["get"]
        self.assertEqual(things["summary"], "Shows things.")
        self.assertEqual(things["description"], "At length.\n\nNeeds the scope `read`.")
        limit = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
        expected = {"name": "limit", "in": "query", "required": False, "schema": limit, "description": "How many"}
        self.assertIn(expected, things["parameters"])
        self.assertEqual(things["x-scope"], "read")
        body = paths["/v1/things"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(body, {"$ref": "#/components/schemas/Given"})
        self.assertIn("Part", self.document["components"]["schemas"])
        self.assertIn("204", paths["/v1/things/{id}"]["delete"]["responses"])


class DocsTests(SynchronousTestCase):
    def test_the_page_fetches_nothing_from_elsewhere(self) -> None:
        rig = Rig()
        page = rig.get("/docs")
        self.assertEqual((page.status, page.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'", page.headers["content-security-policy"])
        self.assertNotIn(b"//", page.body.replace(b"<!--", b""))
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
            self.assertIn(name.encode(), page.body)
            self.assertEqual(rig.get(f"/docs/{name}").status, 200)

    def test_H18_other_files(self) -> None:
        rig = Rig()
        for name in ("LICENSE", "..%2fsite.py", "%2e%2e/site.py", "x", "__init__.py"):
            self.assertIn(rig.get(f"/docs/{name}").status, (400, 404))
