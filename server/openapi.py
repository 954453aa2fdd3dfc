"""`/openapi.json`: what every route takes and answers, from the same list that the routes are made of.

Each body and each answer is one schema under `components`, made by pydantic from the model that checks or
fills it. What follows from a route's needs (401 for who is nobody, 429 for who asks too often) is derived
here, so that no route has to say it.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from server.api import SAFE, Endpoint
from server.auth import API_KEY_PATHS, LOGIN_COOKIE
from server.routes.answers import ClientsProblem, Problem

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
ANSWER, BODY, QUERY = "answer", "body", "query"

ABOUT = """\
A self-hosted voice-agent server.

**The talk itself** goes over a WebSocket, `/ws/voice`: see [its page](/docs/websocket) or
[/asyncapi.json](/asyncapi.json).

**Who is asking**: a browser by the cookie that logging in sets, a program by `Authorization: Bearer …`.
Both end at logout and at a change of the password. What is not yours is 404.

**Errors** are `{"detail": "a sentence"}`. **Times** are ISO 8601 in UTC. **Lists** take `limit` (1 to 100,
default 20) and `offset`, and answer `{"items": […], "total": N}`.
"""

MAY = {
    "nobody": "Open to everybody.",
    "anyone": "For users, and for guests where they are allowed.",
    "user": "For users who are logged in.",
    "admin": "For administrators.",
}

WHY = {
    304: "Nothing has changed.",
    400: "The request cannot be read.",
    401: "Not logged in, or the token is not valid (any more).",
    403: "Not allowed.",
    404: "There is no such thing, or it is not yours.",
    409: "It does not go with what is there already.",
    413: "The body is too big.",
    415: "The body is of a kind that is not understood here.",
    416: "There is no such part.",
    422: "A field is missing, unknown or wrong.",
    429: "Too many requests: wait.",
    502: "A provider has failed.",
    503: "The server cannot do this now.",
    504: "A provider took too long.",
}

HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to log in: Bearer."}},
    429: {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds to wait.", "required": True}},
}

PLACEHOLDERS = {
    "session_id": "The id of a talk: `YYYYMMDD_HHMMSS_` and 20 characters.",
    "filename": "A `filename` of the list.",
}


class _Plain(GenerateJsonSchema):
    """Schemas without a title for each field: it would only say the field's name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's own signature
        return False


def document(
    endpoints: Iterable[Endpoint], *, version: str, public_url: str = "", guests: bool = True
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all endpoints that are not hidden."""
    shown = [e for e in endpoints if not e.hidden]
    schemas, components = _schemas(shown)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in shown:
        operation = _operation(endpoint, schemas, guests)
        paths.setdefault(_path(endpoint), {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Parley",
            "version": version,
            "summary": "Talk with a voice agent; keep, find and hear what was said.",
            "description": ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url} for url in dict.fromkeys((public_url.rstrip("/") or "/", "/"))],
        "tags": [{"name": tag} for tag in dict.fromkeys(e.tag for e in shown)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": LOGIN_COOKIE,
                    "description": "Browsers.",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "Programs."},
            },
        },
    }


def statuses(endpoint: Endpoint) -> list[int]:
    """Every status that this endpoint may answer beside its own, in order."""
    found = {*endpoint.errors, *endpoint.also}
    if endpoint.needs != "nobody":
        found.add(401)
    if endpoint.needs == "admin":
        found.add(403)
    if endpoint.method not in SAFE:
        found |= {403, 429}
    if endpoint.limit is not None:
        found.add(429)
    if endpoint.at_session and endpoint.method not in SAFE:
        found.add(503)  # of a session that is just being opened
    if endpoint.body is not None or endpoint.form:
        found |= {400, 413, 415, 422}
    if endpoint.query is not None:
        found.add(422)
    return sorted(found - {endpoint.status})


# -- schemas --------------------------------------------------------------------------------------------


def _schemas(endpoints: list[Endpoint]) -> tuple[Mapping[Any, Schema], dict[str, Schema]]:
    """(key of an endpoint's part -> its schema, the components they refer to): all made in one go, so that
    two models of one name get two names."""
    wanted: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
        (Problem, "serialization", TypeAdapter(Problem)),
        (ClientsProblem, "serialization", TypeAdapter(ClientsProblem)),
    ]
    for e in endpoints:
        if e.body is not None:
            wanted.append(((e.method, e.path, BODY), "validation", TypeAdapter(e.body)))
        if e.query is not None:
            wanted.append(((e.method, e.path, QUERY), "validation", TypeAdapter(e.query)))
        if e.answers is not None:
            wanted.append(((e.method, e.path, ANSWER), "serialization", TypeAdapter(e.answers)))
    made, definitions = TypeAdapter.json_schemas(wanted, ref_template=REFERENCE, schema_generator=_Plain)
    found: dict[Any, Schema] = dict(made)
    components = dict(definitions.get("$defs", {}))
    for e in endpoints:  # a query is spread out into parameters: nobody refers to it as a whole
        if e.query is not None:
            key = (e.method, e.path, QUERY), "validation"
            found[key] = _resolved(found[key], components)
    used = _names(list(found.values()), components)
    return found, {name: schema for name, schema in components.items() if name in used}


def _resolved(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return components[reference.rpartition("/")[2]] if reference else schema


def _names(roots: list[Any], components: Mapping[str, Schema]) -> set[str]:
    """The components that these schemas refer to, straight or through others."""
    names: set[str] = set()
    left = list(roots)
    while left:
        here = left.pop()
        if isinstance(here, list):
            left += here
        elif isinstance(here, dict):
            name = str(here.get("$ref", "")).rpartition("/")[2]
            if name and name not in names:
                names.add(name)
                left.append(components[name])
            left += here.values()
    return names


# -- operations -----------------------------------------------------------------------------------------


def _path(endpoint: Endpoint) -> str:
    """The path as OpenAPI writes it: without starlette's types."""
    return re.sub(r":\w+}", "}", endpoint.path)


def _operation(e: Endpoint, schemas: Mapping[Any, Schema], guests: bool) -> dict[str, Any]:
    words = [e.method.lower(), *re.findall(r"[\w-]+", _path(e))]
    operation: dict[str, Any] = {
        "operationId": "_".join(words).replace("-", "_"),
        "summary": e.summary,
        "description": "\n\n".join(filter(None, (inspect.getdoc(e.handler), MAY[e.needs]))),
        "tags": [e.tag],
        "security": _security(e, guests),
        "responses": _responses(e, schemas),
    }
    parameters = [*_placeholders(e), *_query(schemas.get(((e.method, e.path, QUERY), "validation")))]
    if parameters:
        operation["parameters"] = parameters
    if e.body is not None:
        content: dict[str, Any] = {"schema": schemas[(e.method, e.path, BODY), "validation"]}
        if e.example is not None:
            content["example"] = dict(e.example)
        operation["requestBody"] = {
            "required": e.body_required,
            "content": {"application/json": content},
        }
    elif e.form:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": _form(e)}}
    return operation


def _security(e: Endpoint, guests: bool) -> list[dict[str, list[str]]]:
    logged_in: list[dict[str, list[str]]] = [{"cookie": []}, {"bearer": []}]
    is_open = e.needs == "nobody" or (e.needs == "anyone" and guests)
    return [{}, *logged_in] if is_open else logged_in


def _placeholders(e: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if kind == "int" else "string"},
            **({"description": PLACEHOLDERS[name]} if name in PLACEHOLDERS else {}),
        }
        for name, kind in re.findall(r"{(\w+)(?::(\w+))?}", e.path)
    ]


def _query(schema: Schema | None) -> list[dict[str, Any]]:
    if schema is None:
        return []
    required = schema.get("required", ())
    found = []
    for name, described in schema.get("properties", {}).items():
        own = {key: value for key, value in described.items() if key != "description"}
        one = {"name": name, "in": "query", "required": name in required, "schema": own}
        if "description" in described:
            one["description"] = described["description"]
        found.append(one)
    return found


def _form(e: Endpoint) -> dict[str, Any]:
    properties = {
        part.name: {
            "type": "string",
            **({"format": "binary"} if part.is_file else {}),
            "description": part.about,
        }
        for part in e.form
    }
    required = [part.name for part in e.form if part.required]
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _responses(e: Endpoint, schemas: Mapping[Any, Schema]) -> dict[str, Any]:
    """By status: the answer, then what else may come."""
    content = _content(e, schemas)
    found: dict[str, Any] = {str(e.status): {"description": _said(e), **content}}
    for status in statuses(e):
        if status in e.also:
            found[str(status)] = {"description": WHY.get(status, "The same, in part."), **content}
            continue
        found[str(status)] = {"description": WHY[status]}
        if status >= 400:
            problem = ClientsProblem if e.path.startswith(API_KEY_PATHS) else Problem
            schema = schemas[problem, "serialization"]
            found[str(status)]["content"] = {"application/json": {"schema": schema}}
        if status in HEADERS:
            found[str(status)]["headers"] = HEADERS[status]
    return found


def _content(e: Endpoint, schemas: Mapping[Any, Schema]) -> dict[str, Any]:
    if e.status == 204 or 300 <= e.status < 400:
        return {}
    kinds = (e.media,) if isinstance(e.media, str) else e.media
    if e.answers is None and kinds == ("application/json",):
        return {}
    return {"content": {kind: {"schema": _schema_of(kind, e, schemas)} for kind in kinds}}


def _schema_of(kind: str, e: Endpoint, schemas: Mapping[Any, Schema]) -> Schema:
    if kind == "application/json":
        return schemas[(e.method, e.path, ANSWER), "serialization"] if e.answers is not None else {}
    return {"type": "string", **({} if kind.startswith("text/") else {"format": "binary"})}


def _said(e: Endpoint) -> str:
    """What the answer is, in words: its model's own."""
    if e.status == 204:
        return "Done."
    model = e.answers
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__doc__:
        return inspect.cleandoc(model.__doc__).partition("\n")[0]
    return "Made." if e.status == 201 else "As asked."
