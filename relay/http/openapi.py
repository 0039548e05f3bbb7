"""The OpenAPI 3.1 document of the API, made of what the operations declare."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from relay import __version__
from relay.http.operation import JSON, Operation
from relay.http.words import FIELDS, NAMES, TAGS

_REF = "#/components/schemas/{name}"
#: What any operation may end with.
_ALWAYS = (400, 401, 403, 413, 415, 429, 503)
_PROBLEM = "application/problem+json"

_ABOUT = """\
What the relay knows and can do. Paths under `/v1` are its own and answer errors as problem+json (RFC 9457); the
others are those that clients of ZoneMTA know, in the shapes they know. From the relay's own machine no key is needed
unless the configuration wants one; `x-scope` says what else a key must be good for, `x-tenants` that it may be one of
an organisation, which sees and touches its own.
"""


class Trouble(msgspec.Struct, rename={"kind": "type"}):
    """An error under /v1 (RFC 9457). `code` is for programs, `field` says which field of the request is wrong."""

    kind: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None


class Refusal(msgspec.Struct, omit_defaults=True):
    """An error on a path that clients of the original know: `error`, or `code` and `message`."""

    error: str = ""
    code: str = ""
    message: str = ""
    field: str = ""


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole of it."""
    shown = [one for one in operations if not one.hidden]
    kinds = {Trouble: None, Refusal: None}
    kinds |= {part: None for one in shown for kind in (*one.takes.values(), one.answer) for part in _parts(kind)}
    schemas, components = msgspec.json.schema_components(list(kinds), ref_template=_REF)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in shown:
        described, more = _described(one, schema_of)
        components = {**components, **more}
        there = paths.setdefault(one.documented_path, {})
        assert one.method.lower() not in there, f"{one.method} {one.path} is declared twice"
        there[one.method.lower()] = described
    return _with_short_names({
        "openapi": "3.1.0",
        "info": {"title": "Zonerelay", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in TAGS if any(one.tag == tag for one in shown)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `zr_…`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "zonerelay"},
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-CSRF-Token",
                    "description": "The `csrf_token` of the session, which requests that change something bring",
                },
            },
        },
    })


def _with_short_names(whole: dict[str, Any]) -> dict[str, Any]:
    """Types of the same name are told apart by their modules: `relay.zone.decision.Scope` becomes DecisionScope."""
    schemas = whole["components"]["schemas"]
    names = {name: _short(name) for name in schemas if "." in name}
    if not names:
        return whole
    refs = {_REF.format(name=old): _REF.format(name=new) for old, new in names.items()}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [renamed(one) for one in value]
        return refs.get(value, value) if isinstance(value, str) else value

    whole["components"]["schemas"] = {names.get(name, name): schema for name, schema in schemas.items()}
    found: dict[str, Any] = renamed(whole)
    return found


def _short(name: str) -> str:
    words = "_".join(name.split(".")[-2:]).split("_")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _described(one: Operation, schema_of: dict[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One operation, and the components that its query brings."""
    summary, _, text = one.text.partition("\n\n")
    parameters = [_named(name) for name in one.names]
    more: dict[str, Any] = {}
    if one.query is not None:
        found, more = _query(one.query)
        parameters += found
    parameters += [_of_header(name) for name in one.fields]
    described: dict[str, Any] = {
        "operationId": f"{one.tag}_{one.name}".replace("-", "_").replace(" ", "_"),
        "tags": [one.tag],
        "summary": " ".join(summary.split()),
        "responses": _responses(one, schema_of),
    }
    if one.scope is not None:
        text = f"{text}\n\nNeeds the scope `{one.scope}`.".lstrip()
    if text:
        described["description"] = text
    if parameters:
        described["parameters"] = parameters
    if one.takes:
        content = {kind: _content(what, schema_of) for kind, what in one.takes.items()}
        # Octets may be none.
        described["requestBody"] = {"required": any(one.takes.values()), "content": content}
    if one.scope is not None:
        described["x-scope"] = str(one.scope)
        described["x-tenants"] = one.by_tenant
        session: dict[str, list[str]] = {"session": []} if one.is_safe else {"session": [], "csrf": []}
        described["security"] = [{}, {"key": []}, session]
    return described, more


def _query(kind: type[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema = components.pop(kind.__name__)
    required = schema.get("required", ())
    parameters = []
    for name, what in schema["properties"].items():
        what = _without_null(what)
        described = {"name": name, "in": "query", "required": name in required, "schema": what}
        if text := what.pop("description", ""):
            described["description"] = text
        if what.get("type") == "array":
            described |= {"style": "form", "explode": False}
        parameters.append(described)
    return parameters, components


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a field that may be left out: a query has no null."""
    schema = dict(schema)
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema |= kinds[0]
        if schema.get("default", 0) is None:
            del schema["default"]
    return schema


def _named(name: str) -> dict[str, Any]:
    """What a path leaves open."""
    text, example = NAMES.get(name, ("", ""))
    described: dict[str, Any] = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    return described | ({"description": text, "example": example} if text else {})


def _of_header(name: str) -> dict[str, Any]:
    text, schema = FIELDS[name]
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _responses(one: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {}
    if one.answer is not None:
        good["content"] = {one.gives: _content(one.answer, schema_of)}
    elif one.gives != JSON:
        good["content"] = {one.gives: {"schema": {"type": "string"}}}
    own = one.path.startswith("/v1/")
    bad = {"content": {_PROBLEM if own else JSON: {"schema": schema_of[Trouble if own else Refusal]}}}
    statuses = {*_ALWAYS, *one.errors, *((404,) if one.names else ())} - {one.status, *one.also}
    either = {"content": good.get("content", {}) | bad["content"]}
    ways = [(status, good if status < 400 else either) for status in (one.status, *one.also)]
    ways += [(status, bad) for status in sorted(statuses)]
    return {str(status): {"description": HTTPStatus(status).phrase, **what} for status, what in ways}


def _content(kind: Any, schema_of: dict[Any, Any]) -> dict[str, Any]:
    """What is in a body; None: octets."""
    schemas = [schema_of[part] for part in _parts(kind)]
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}} if schemas else {}


def _parts(kind: Any) -> tuple[Any, ...]:
    """The types of which one is there."""
    if kind is None:
        return ()
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
