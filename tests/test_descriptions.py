"""The live descriptions hold: OpenAPI and AsyncAPI are valid, nothing is missing in them, and what a real
call is sent fits the schemas."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from websockets.asyncio.client import ClientConnection, connect

from server import asyncapi
from server.app import running
from server.config import load
from server.sockets import PATHS
from server.wire.voice import _READERS, _START
from tests.support.live import SCRIPTED, LiveServer
from tests.support.speech import clip
from tests.test_docs import messages_in_the_source

DATA = Path(__file__).parent / "data"
DOCUMENT = asyncapi.document(version="1")


async def openapi_of(folder: Path, **settings: str) -> dict[str, Any]:
    """The live document of a server with these settings."""
    async with running(load(None, {**SCRIPTED, **settings}, folder)) as app:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://parley.test") as client:
            answer = await client.get("/openapi.json")
            assert answer.headers["content-type"] == "application/json"
            document: dict[str, Any] = answer.json()
            shown = {
                (e.method, re.sub(r":\w+}", "}", e.path)) for e in app.parts.gate.endpoints if not e.hidden
            }
    described = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert described == shown
    return document


# -- OpenAPI --------------------------------------------------------------------------------------------


async def test_the_http_description_is_valid_and_has_every_route(tmp_path: Path) -> None:
    document = await openapi_of(tmp_path)
    OpenAPIV31SpecValidator(document).validate()
    assert document["servers"] == [{"url": "/"}]
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    for one in operations:
        content = one.get("requestBody", {}).get("content", {}).get("application/json")
        assert content is None or "example" in content, f"{one['operationId']} has no example"
        assert content is None or content["schema"]["$ref"].startswith("#/components/schemas/")


async def test_every_example_fits_its_schema(tmp_path: Path) -> None:
    document = await openapi_of(tmp_path)
    for methods in document["paths"].values():
        for one in methods.values():
            content = one.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                schema = {**content["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(content["example"])


async def test_what_follows_from_a_routes_needs_is_in_its_description(tmp_path: Path) -> None:
    document = await openapi_of(tmp_path)
    me = document["paths"]["/api/auth/me"]["get"]
    assert me["security"] == [{"cookie": []}, {"bearer": []}]
    assert set(me["responses"]) == {"200", "401"}
    register = document["paths"]["/api/auth/register"]["post"]
    assert register["security"][0] == {}
    assert set(register["responses"]) == {"201", "400", "403", "409", "413", "415", "422", "429"}
    assert register["responses"]["429"]["headers"]["Retry-After"]["required"] is True
    listed = document["paths"]["/api/conversations"]["get"]
    assert [p["name"] for p in listed["parameters"]] == ["limit", "offset"]
    assert listed["parameters"][0]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 20,
    }


async def test_the_public_address_is_among_the_servers(tmp_path: Path) -> None:
    document = await openapi_of(tmp_path, PARLEY_SERVER__PUBLIC_URL="https://talk.example.org/")
    assert document["servers"] == [{"url": "https://talk.example.org"}, {"url": "/"}]


# -- AsyncAPI -------------------------------------------------------------------------------------------


def test_the_socket_description_is_valid() -> None:
    schema = json.loads((DATA / "asyncapi-3.0.0.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    there = asyncapi.document(version="1", public_url="https://talk.example.org/voice/")
    assert [error.message for error in validator.iter_errors(there)] == []
    assert there["servers"]["this"] == {"host": "talk.example.org", "pathname": "/voice", "protocol": "wss"}


def test_every_socket_and_message_is_described() -> None:
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == set(PATHS)
    assert {message.type for message in asyncapi.FROM_CLIENT} == set(_READERS)
    assert set(asyncapi.START) == set(_START)
    both = {message.type for message in (*asyncapi.FROM_CLIENT, *asyncapi.TO_CLIENT)}
    assert messages_in_the_source() <= both


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref":
                yield one
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        here: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            here = here[name]
        assert here


@pytest.mark.parametrize(
    "message", DOCUMENT["components"]["messages"].values(), ids=lambda m: str(m["title"])
)
def test_every_example_of_a_message_fits_its_schema(message: dict[str, Any]) -> None:
    for example in message.get("examples", ()):
        strict(message["payload"]).validate(example["payload"])


def strict(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """The schema, with objects that may hold nothing else than what it names."""

    def close(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {key: close(one) for key, one in value.items()}
            return {**inner, "additionalProperties": False} if "properties" in value else inner
        return [close(one) for one in value] if isinstance(value, list) else value

    return jsonschema.Draft202012Validator(close(schema))


def check(event: dict[str, Any], prefix: str = "server_") -> None:
    """Hold one message against its schema."""
    name = prefix + event["type"].replace(".", "_")
    errors = list(strict(DOCUMENT["components"]["messages"][name]["payload"]).iter_errors(event))
    assert errors == [], f"{event}: {errors[0].message}"


async def told(ws: ClientConnection, last: str) -> list[dict[str, Any]]:
    """Every JSON message up to the first of a kind, each checked."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not events or events[-1]["type"] != last:
            data = await ws.recv()
            if isinstance(data, str):
                events.append(json.loads(data))
                check(events[-1])
    return events


def kinds(events: list[dict[str, Any]]) -> set[str]:
    return {event["type"] for event in events}


async def say(ws: ClientConnection, kind: str, **fields: Any) -> None:
    """Send a message that fits its own schema."""
    message = {"type": kind, **fields}
    check(message, "client_")
    await ws.send(json.dumps(message))


async def test_the_messages_of_a_call_fit_the_description(scripted_server: LiveServer) -> None:
    seen: set[str] = set()
    async with connect(scripted_server.ws, compression=None) as ws:
        await say(ws, "start", mode="hold-to-talk", output_rate=16000, base64=True, marks=True)
        seen |= kinds(await told(ws, "audio_response"))
        await say(ws, "talk.begin")  # interrupts the greeting
        pcm = clip("austen_0890.wav")[: 16000 * 2 * 2]
        for start in range(0, len(pcm), 6400):
            await ws.send(pcm[start : start + 6400])
        await say(ws, "talk.end")
        seen |= kinds(await told(ws, "audio.end"))
        metrics = await told(ws, "turn.metrics")
        seen |= kinds(metrics)
        await say(ws, "playback", response_id="r2", played_ms=10**6)
        await say(ws, "update_prompt", prompt="Be brief.")
        await say(ws, "ping")
        await ws.send("{")
        seen |= kinds(await told(ws, "error"))
        await say(ws, "text_message", message="and now?")
        seen |= kinds(await told(ws, "audio.begin"))
        await say(ws, "interrupt")
        seen |= kinds(await told(ws, "interrupted"))
        await say(ws, "end")
        seen |= kinds(await told(ws, "ended"))
    rare = {"agent.changed", "duck", "unduck", "tool.call", "tool.progress", "tool.result", "avatar"}
    assert {message.type for message in asyncapi.TO_CLIENT} - seen <= rare | {"audio.mark"}


async def test_who_resumes_and_who_watches_is_told_as_described(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws, compression=None) as ws:
        connected = (await told(ws, "connected"))[0]
        await say(ws, "text_message", message="hello")
        await told(ws, "audio.begin")
        watching = f"{scripted_server.ws.removesuffix('/ws/voice')}/ws/transcript/{connected['session_id']}"
        async with connect(watching, compression=None) as watcher:
            check(json.loads(await watcher.recv()), "watcher_")
    async with connect(f"{scripted_server.ws}?resume={connected['resume_token']}", compression=None) as ws:
        again = (await told(ws, "connected"))[0]
        assert again["resumed"] is True
        assert again["messages"]
        await say(ws, "end")
        await told(ws, "ended")
