"""The document of the whole API, as the relay serves it: it is one, and nothing is missing in it."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import Any

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from relay.access.access import Access
from relay.access.caller import Scope
from relay.config.schema import Config
from relay.http.openapi import document
from relay.http.words import FIELDS, NAMES, OF_MAIL, TAGS
from relay.parts import Parts

METHODS = {"get", "put", "post", "delete", "patch"}


@lru_cache(1)
def site() -> Any:
    """That of a relay whose queue isn't open."""
    config = Config()
    parts = Parts(config, reactor)
    parts.store.on_events = lambda callback: None  # type: ignore[method-assign]
    return parts.make_site(Access(config.access, reactor, parts.now, parts.roll))


def frames() -> list[Any]:
    """Of all operations of a relay."""
    return list(site()._frames.values())


@lru_cache(1)
def whole() -> Any:
    """As a client reads it."""
    return msgspec.json.decode(msgspec.json.encode(document(frame.operation for frame in frames())))


def each() -> list[tuple[str, Any]]:
    """The operations of the document, each with its method and path."""
    return [
        (f"{method.upper()} {path}", said) for path, there in whole()["paths"].items() for method, said in there.items()
    ]


class DocumentTests(SynchronousTestCase):
    def test_it_is_one(self) -> None:
        OpenAPIV31SpecValidator(whole()).validate()

    def test_each_operation_is_told_of(self) -> None:
        scopes = {str(scope) for scope in Scope}
        public = {"GET /openapi.json", "GET /docs", "GET /unsubscribe/{token}", "POST /unsubscribe/{token}"}
        public |= {"GET /v1/health/live", "GET /v1/health/ready"}
        # Each is about the one who asks.
        public |= {"POST /v1/sessions", "GET /v1/sessions/current", "DELETE /v1/sessions/current"}
        for name, said in each():
            self.assertIn(name.split(" ")[0].lower(), METHODS)
            self.assertRegex(said["summary"], r"^[A-Z][^\n`]{5,110}[.]$", name)
            self.assertTrue(set(said["tags"]) <= set(TAGS), name)
            self.assertTrue(name in public or said["x-scope"] in scopes, name)
            for parameter in said.get("parameters", ()):
                known = {"query": {parameter["name"]}, "path": NAMES, "header": FIELDS}[parameter["in"]]
                self.assertIn(parameter["name"], known, name)

    def test_nothing_is_answered_that_is_not_in_it(self) -> None:
        hidden = {frame.operation.documented_path for frame in frames() if frame.operation.hidden}
        for rule in site()._routes.map.iter_rules():
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                self.assertTrue(path in hidden or method.lower() in whole()["paths"][path], f"{method} {path}")
        self.assertEqual(hidden, {"/docs/{name}"})

    def test_fields_of_the_header_are_told_of(self) -> None:
        for path in ("/v1/messages", "/send", "/send-raw", "/sendemail", "/sendmultiemails", "/sendmultimails"):
            said = whole()["paths"][path]["post"]["parameters"]
            self.assertEqual([one["name"] for one in said if one["in"] == "header"], list(OF_MAIL))
        used = {name for frame in frames() for name in frame.operation.fields}
        self.assertEqual(used, set(FIELDS))

    def test_what_changes_something_needs_the_csrf_token_of_a_session(self) -> None:
        for name, said in each():
            if "security" in said:
                self.assertEqual("csrf" in said["security"][2], not name.startswith("GET "), name)

    def test_paths_are_open_where_methods_want_it(self) -> None:
        for frame in frames():
            wanted = list(inspect.signature(frame._method).parameters)
            self.assertEqual(wanted, ["call", *frame.operation.names], frame.operation)

    def test_schemas_have_names_of_their_own(self) -> None:
        """Where two have the same name, msgspec writes out their modules."""
        for name, schema in whole()["components"]["schemas"].items():
            self.assertRegex(name, "^[A-Z][A-Za-z]+$")
            self.assertTrue(schema.get("description"), name)
