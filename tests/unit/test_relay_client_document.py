"""The client against the OpenAPI document: whatever it asks for is there, and so is whatever it reads."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args, get_origin

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from relay_client.api import Api
from relay_client.ask import Ask, Listing
from relay_client.edge import _Method
from relay_client.messages import Attachment, Mailbox, Message
from relay_client.queue import Wanted
from relay_client.sse import Stream
from tests.unit.test_http_document import whole

WHEN = datetime(2026, 12, 1, tzinfo=UTC)
MESSAGE = Message(
    from_=Mailbox("a@b.c", "A"),
    to=["d@e.f", Mailbox("g@h.i")],
    cc="a@b.c",
    bcc="a@b.c",
    reply_to="a@b.c",
    subject="s",
    text="t",
    html="h",
    attachments=[Attachment(content=b"x", filename="f", content_type="text/plain", cid="c", disposition="inline")],
    headers={"X-A": ["b"]},
    envelope_from="a@b.c",
    send_at=WHEN,
    zone="default",
    tags=("a",),
    tenant="t",
    metadata={"a": "b"},
)
WANTED = Wanted(**dict.fromkeys(Wanted.__struct_fields__, "x"))
#: What methods are given, by the names of their parameters; each gets all that it takes.
GIVEN: dict[str, Any] = {
    "message": MESSAGE, "messages": [MESSAGE], "wait": 5, "key": "k", "sender": "a@b.c", "recipients": ["a@b.c"],
    "wanted": WANTED, "which": WANTED, "page": 5, "name": "x.001", "id": "x", "verb": "move", "reason": "r",
    "zone": "default", "everything": True, "dry_run": True, "after": 5, "kind": ["queued"], "limit": 5, "seconds": 5,
    "message_id": "<1@b.c>", "recipient": "a@b.c", "since": WHEN, "until": WHEN, "domain": "b.c", "site": "b.c",
    "address": "192.0.2.1", "user": "u", "duration": "4h", "tenant": "t", "source": "manual", "expires": WHEN,
    "csv": b"x", "state": "sending", "waiting": True, "scopes": ["read"], "domains": ["b.c"],
    "networks": ["192.0.2.0/24"], "first": 1, "password": "12345678", "role": "viewer", "last": 9, "rates": ["1/s"],
}  # fmt: skip
#: Those that take the whole message's name, and messages that are no object here.
RAW = {"send_raw": {"message": b"raw"}}


class Edge:
    """Asks nothing: it gives back what would be asked for."""

    def ask(self, ask: Any) -> Any:
        return ask

    walk = take = follow = ask


def made() -> Iterator[tuple[str, Ask[Any], dict[str, Any]]]:
    """Each method with what it asks for, all parameters given, and the types of what a stream has."""
    for title, group in vars(Api(Edge())).items():  # type: ignore[type-var]
        for name, method in vars(type(group)).items():
            if isinstance(method, _Method):
                names = list(inspect.signature(method.make).parameters)[1:]
                asked = getattr(group, name)(**{one: RAW.get(name, GIVEN).get(one, GIVEN[one]) for one in names})
                if isinstance(asked, Listing):
                    asked = asked.first
                kinds = asked.kinds if isinstance(asked, Stream) else {}
                yield f"{title}.{name}", asked.ask if isinstance(asked, Stream) else asked, kinds


def resolved(schema: Any) -> Any:
    while "$ref" in schema:
        schema = whole()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def fitting(schema: Any, fields: set[str]) -> Any:
    """Of several, the object that has most of these fields."""
    schema = resolved(schema)
    several = [resolved(one) for one in schema.get("anyOf", ())]
    objects = [one for one in several if one.get("type") in ("object", "array")] or [schema]
    return max(objects, key=lambda one: len(fields & set(one.get("properties", ()))))


class DocumentTests(SynchronousTestCase):
    def test_what_is_asked_for_is_there(self) -> None:
        for name, ask, _ in made():
            there = whole()["paths"].get(ask.template, {}).get(ask.method.lower())
            self.assertIsNotNone(there, f"{name}: {ask.method} {ask.template}")
            known = {one["name"] for one in there.get("parameters", ()) if one["in"] == "query"}
            if known or ask.template.startswith("/v1/"):
                self.assertLessEqual({field for field, _ in ask.query}, known, name)
            required = {one["name"] for one in there.get("parameters", ()) if one["in"] == "query" and one["required"]}
            self.assertLessEqual(required, {field for field, _ in ask.query}, name)
            self.assertEqual(ask.template.count("{"), len(ask.names), name)

    def test_what_is_said_is_known(self) -> None:
        for name, ask, _ in made():
            if ask.body is None:
                continue
            contents = whole()["paths"][ask.template][ask.method.lower()]["requestBody"]["content"]
            self.assertIn(ask.kind, contents, name)
            if ask.kind == "application/json":
                assert isinstance(ask.body, bytes)
                self.check_known(name, json.loads(ask.body), contents[ask.kind]["schema"])

    def check_known(self, where: str, value: Any, schema: Any) -> None:
        if isinstance(value, list):
            for one in value:
                self.check_known(f"{where}[]", one, fitting(schema, set()).get("items", schema))
        if isinstance(value, dict):
            schema = fitting(schema, set(value))
            if "properties" in schema:
                self.assertLessEqual(set(value), set(schema["properties"]), where)
                for field, one in value.items():
                    self.check_known(f"{where}.{field}", one, schema["properties"][field])

    def test_what_is_read_is_answered(self) -> None:
        for name, ask, _ in made():
            if ask.answer is bytes:
                continue
            responses = whole()["paths"][ask.template][ask.method.lower()]["responses"]
            [status] = [status for status in responses if status < "3"][:1]
            schema = responses[status]["content"]["application/json"].get("schema")
            if schema:
                self.check_answered(name, ask.answer, schema)

    def check_answered(self, where: str, kind: Any, schema: Any) -> None:
        """Each field of the struct is a property; one without a default is required."""
        for one in get_args(kind):
            self.check_answered(where, one, self.inner(kind, schema))
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return
        fields = msgspec.structs.fields(kind)
        schema = fitting(schema, {field.encode_name for field in fields})
        if "properties" not in schema:
            return  # It promises an object, and nothing about it.
        for field in fields:
            self.assertIn(field.encode_name, schema["properties"], where)
            if field.required:
                self.assertIn(field.encode_name, schema["required"], f"{where}.{field.name}")
            self.check_answered(f"{where}.{field.name}", field.type, schema["properties"][field.encode_name])

    def inner(self, kind: Any, schema: Any) -> Any:
        schema = fitting(schema, set())
        if get_origin(kind) is tuple:
            several = [resolved(one) for one in schema.get("anyOf", ())] or [schema]
            return next(one["items"] for one in several if one.get("type") == "array")
        return schema
