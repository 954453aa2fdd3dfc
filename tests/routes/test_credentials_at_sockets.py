"""Who may open which socket: cookies, bearers, room tokens, session ids, agents."""

import httpx2
import pytest

from server.app import App
from server.auth import GUEST_COOKIE, LOGIN_COOKIE
from tests.routes.conftest import Client, bearer, signed_up
from tests.routes.test_agents import made as an_agent
from tests.routes.test_sessions import made, said
from tests.support.socket import connected

VOICE = "/ws/voice"
REPLY = "All right. I will do that for you now."


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "PARLEY_LLM__SCRIPTED__TEXT": REPLY,
        "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "5",
        "PARLEY_TTS__SCRIPTED__FIRST_BYTE_MS": "5",
        "PARLEY_PIPELINE__GREETING": "",
    }


def cookie_of(browser: httpx2.AsyncClient) -> dict[str, str]:
    return {"Cookie": f"{LOGIN_COOKIE}={browser.cookies[LOGIN_COOKIE]}"}


def token_of(program: httpx2.AsyncClient) -> str:
    return program.headers["Authorization"].removeprefix("Bearer ")


async def id_of(who: httpx2.AsyncClient) -> str:
    return str((await who.get("/api/auth/me")).json()["id"])


# -- showing who one is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cookie", "header", "query"])
async def test_a_users_talk_is_in_the_users_list(app: App, client: Client, way: str) -> None:
    ann = await (signed_up if way == "cookie" else bearer)(client)
    url, headers = VOICE, {}
    if way == "cookie":
        headers = cookie_of(ann)
    elif way == "header":
        headers = {"Authorization": ann.headers["Authorization"]}
    else:
        url += f"?token={token_of(ann)}"
    async with connected(app, url, headers) as ws:
        session_id = (await ws.event())["session_id"]
        await ws.send("text_message", message="hi")
        await ws.until("turn.metrics")
        await ws.send("end")
        assert await ws.closed() == 1000
    talk = (await ann.get(f"/api/conversation/{session_id}")).json()
    assert talk["user_id"] == await id_of(ann)
    assert (await ann.get("/api/conversations")).json()["items"][0]["session_id"] == session_id
    assert (await client().get(f"/api/conversation/{session_id}")).status_code == 404


async def test_an_api_key_is_for_v1_and_opens_no_voice_socket(app: App, client: Client) -> None:
    ann = await signed_up(client)
    key = app.parts.keys.api_key(await app.parts.credentials.create(await id_of(ann), "api_key", None))
    async with connected(app, f"{VOICE}?token={key}") as ws:
        assert await ws.closed() == 1008


async def test_a_login_that_is_over_opens_nothing(app: App, client: Client) -> None:
    program = await bearer(client)
    token = token_of(program)
    await program.post("/auth/logout")
    for wrong in (token, "x", token[:-2], "pk-" + token):
        async with connected(app, f"{VOICE}?token={wrong}") as ws:
            assert await ws.closed() == 1008
    async with connected(app, VOICE, {"Authorization": f"Bearer {token}"}) as ws:
        assert await ws.closed() == 1008


async def test_a_foreign_page_cannot_use_the_cookie(app: App, client: Client) -> None:
    ann = await signed_up(client)
    async with connected(app, VOICE, {**cookie_of(ann), "Origin": "https://evil.example"}) as ws:
        assert await ws.closed() == 1008
    async with connected(app, VOICE, {**cookie_of(ann), "Origin": "http://parley.test"}) as ws:
        assert (await ws.event())["type"] == "connected"


# -- whose session --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/voice?session_id={}", "/ws/{}", "/ws/voice-agent/{}"])
async def test_a_session_made_over_rest_is_opened_by_its_user_alone(
    app: App, client: Client, path: str
) -> None:
    ann, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    session_id = (await made(ann, session_prompt="The caller is Ann."))["id"]
    url = path.format(session_id)
    for headers in ({}, cookie_of(bob)):
        async with connected(app, url, headers) as ws:
            assert await ws.closed() == 1008
    assert len(app.sessions) == 0
    async with connected(app, url, cookie_of(ann)) as ws:
        assert (await ws.event())["session_id"] == session_id
        for headers in ({}, cookie_of(bob)):  # now that it is live
            async with connected(app, url, headers) as other:
                assert await other.closed() == 1008
        await ws.send("text_message", message="hi")
        assert any(e["type"] == "audio_response" for e in await ws.until("turn.metrics")) is ("?" not in path)
        await ws.send("end")
        assert await ws.closed() == 1000
    async with connected(app, url, cookie_of(ann)) as ws:
        assert await ws.closed() == 1008  # it is over
    assert (await ann.get(f"/sessions/{session_id}")).json()["is_active"] is False


async def test_whoever_knows_the_id_of_a_guests_session_may_come_in_and_watch(
    app: App, client: Client
) -> None:
    session_id = (await made(client()))["id"]
    async with connected(app, f"/ws/transcript/{session_id}") as watcher:
        assert await watcher.closed() == 1008  # nobody talks there yet
    async with connected(app, f"/ws/{session_id}") as ws:
        assert (await ws.event())["session_id"] == session_id
        async with connected(app, f"/ws/transcript/{session_id}") as watcher:
            assert (await watcher.event())["session_id"] == session_id


async def test_a_users_talk_is_watched_by_the_user_alone(app: App, client: Client) -> None:
    ann, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    async with connected(app, VOICE, cookie_of(ann)) as ws:
        session_id = (await ws.event())["session_id"]
        for headers in ({}, cookie_of(bob)):
            async with connected(app, f"/ws/transcript/{session_id}", headers) as watcher:
                assert await watcher.closed() == 1008
        async with connected(app, f"/ws/transcript/{session_id}", cookie_of(ann)) as watcher:
            assert (await watcher.event())["session_id"] == session_id


async def test_a_resume_token_is_enough_to_come_back(app: App, client: Client) -> None:
    ann = await signed_up(client)
    async with connected(app, VOICE, cookie_of(ann)) as ws:
        first = await ws.event()
    async with connected(app, f"{VOICE}?resume={first['resume_token']}") as ws:
        assert (await ws.event())["session_id"] == first["session_id"]


# -- tokens of rooms ------------------------------------------------------------------------------------


async def test_a_joined_sessions_token_opens_that_session_and_no_other(app: App, client: Client) -> None:
    ann = await signed_up(client)
    session, other = await made(ann), await made(ann)
    token = (await ann.post(f"/sessions/{session['id']}/join")).json()["token"]
    for wrong in (f"?token={token}&session_id={other['id']}", f"?token={token}x"):
        async with connected(app, VOICE + wrong) as ws:
            assert await ws.closed() == 1008
    async with connected(app, f"{VOICE}?token={token}") as ws:
        assert (await ws.event())["session_id"] == session["id"]
        async with connected(app, f"/ws/transcript/{session['id']}?token={token}") as watcher:
            assert (await watcher.event())["session_id"] == session["id"]
    assert app.sessions.owner_of(session["id"]) == f"user:{await id_of(ann)}"


async def test_a_late_token_opens_nothing(app: App, client: Client) -> None:
    session_id = (await made(client()))["id"]
    token = app.parts.keys.room_token(session_id, "ann", -1)
    async with connected(app, f"{VOICE}?token={token}") as ws:
        assert await ws.closed() == 1008
    async with connected(app, f"{VOICE}?session_id={session_id}") as ws:
        await ws.event()
        async with connected(app, f"{VOICE}?token={token}") as late:
            assert (await late.event())["session_id"] == session_id  # it goes on with what is open


async def test_the_token_of_a_deleted_session_opens_nothing(app: App, client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    token = (await guest.post(f"/sessions/{session_id}/join")).json()["token"]
    await guest.delete(f"/sessions/{session_id}")
    async with connected(app, f"{VOICE}?token={token}") as ws:
        assert await ws.closed() == 1008


# -- agents ---------------------------------------------------------------------------------------------


async def test_connected_shows_the_agent_and_the_users_preferences(app: App, client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann, voice="en-gb", avatar="orb")
    await app.parts.accounts.change(await id_of(ann), preferences={"preferred_language": "es"})
    async with connected(app, VOICE, cookie_of(ann)) as ws:
        told = (await ws.event())["agent"]
        assert (told["id"], told["language"]) == (None, "es")
    async with connected(app, f"{VOICE}?agent_id={agent['id']}", cookie_of(ann)) as ws:
        first = await ws.event()
        assert first["agent"] == {
            "id": agent["id"],
            "name": "Pirate",
            "voice": "en-gb",
            "language": "es",
            "avatar": "orb",
        }
        live = app.sessions.get(first["session_id"])
        assert live is not None
        assert live.setup.prompt == "You are a pirate.\n\nThe ship is called Anna."


async def test_somebody_elses_agent_opens_nothing(app: App, client: Client) -> None:
    ann, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    agent = await an_agent(ann)
    for headers in ({}, cookie_of(bob)):
        async with connected(app, f"{VOICE}?agent_id={agent['id']}", headers) as ws:
            assert await ws.closed() == 1008


async def test_start_may_name_the_agent(app: App, client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann, voice="en-gb", response_type="text", turn={"stop_ms": 900})
    async with connected(app, VOICE, cookie_of(ann)) as ws:
        session_id = (await ws.event())["session_id"]
        await ws.send("start", agent_id="nonsense")
        assert (await ws.until("error"))[-1]["code"] == "no_agent"
        await ws.send("start", agent_id=agent["id"], voice="en-us", system_prompt="Be brief.")
        await ws.send("text_message", message="hi")
        assert not any(e["type"] == "binary" for e in await ws.until("turn.metrics"))
        live = app.sessions.get(session_id)
        assert live is not None
        assert (live.setup.voice, live.setup.agent_id) == ("en-us", agent["id"])
        assert live.dialogue.system_prompt.split("\n\n")[:2] == ["You are a pirate.", "Be brief."]
        assert live.floor.timing.stop_ms == 900
        await ws.send("end")
        await ws.closed()
    assert (await ann.get(f"/api/conversation/{session_id}")).json()["agent_id"] == agent["id"]


# -- modes ----------------------------------------------------------------------------------------------


async def test_a_voice_session_refuses_what_is_typed(app: App, client: Client) -> None:
    session_id = (await made(client(), mode="voice"))["id"]
    async with connected(app, f"{VOICE}?session_id={session_id}") as ws:
        assert (await ws.event())["channels"] == "voice"
        await ws.send("text_message", message="hi")
        error = await ws.event()
        assert (error["type"], error["code"], error["fatal"]) == ("error", "wrong_mode", False)


async def test_a_text_session_sounds_neither_way_and_says_so_once(app: App, client: Client) -> None:
    session_id = (await made(client(), mode="text"))["id"]
    async with connected(app, f"{VOICE}?session_id={session_id}") as ws:
        await ws.event()
        await ws.send("start", response="both")  # asking does not help
        for _ in range(50):
            await ws.sound(bytes(640))
        await ws.send("text_message", message="hi")
        kinds = [e["type"] for e in await ws.until("turn.metrics")]
        assert kinds.count("error") == 1
        assert not {"binary", "audio.begin", "speech.started"} & set(kinds)


# -- REST and a socket at once --------------------------------------------------------------------------


async def test_a_message_over_rest_is_heard_by_whoever_is_connected(app: App, client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    async with connected(app, f"{VOICE}?session_id={session_id}") as ws:
        await ws.event()
        await ws.send("start", output_rate=16000)
        answer = await said(guest, session_id)
        assert answer["response"] == REPLY
        kinds = [e["type"] for e in await ws.until("audio.end")]
        assert {"user_message", "response.begin", "audio.begin", "binary"} <= set(kinds)


async def test_who_comes_after_a_message_over_rest_may_still_say_start(app: App, client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    await said(guest, session_id)
    async with connected(app, f"{VOICE}?session_id={session_id}") as ws:
        first = await ws.event()
        assert first["resumed"] is True
        assert [m["role"] for m in first["messages"]] == ["user", "assistant"]
        await ws.send("start", output_rate=8000)
        await ws.send("text_message", message="hi")
        events = await ws.until("audio.begin")
        assert not [e for e in events if e["type"] == "error"]
        assert events[-1]["rate"] == 8000


async def test_disconnecting_over_http_closes_the_socket(app: App, client: Client) -> None:
    async with connected(app, VOICE) as ws:
        session_id = (await ws.event())["session_id"]
        assert (await client().get("/ws/status")).json()["active_connections"] == 1
        assert (await client().post(f"/ws/disconnect/{session_id}")).status_code == 200
        events = await ws.until("ended")
        assert events[-1]["reason"] == "disconnected over HTTP"
        assert await ws.closed() == 1000


async def test_a_guests_talk_at_a_socket_is_there_over_rest_by_its_id(app: App, client: Client) -> None:
    guest = client()
    async with connected(app, VOICE) as ws:
        session_id = (await ws.event())["session_id"]
        found = (await guest.get(f"/sessions/{session_id}")).json()
        assert (found["is_active"], found["user_id"], found["mode"]) == (True, None, "both")
        assert (await said(guest, session_id))["response"] == REPLY
        await guest.put(f"/sessions/{session_id}/prompt", json={"new_prompt": "New."})
        assert (await ws.until("prompt_updated"))[-1] == {"type": "prompt_updated"}
    assert (await guest.post(f"/sessions/{session_id}/end")).json()["is_active"] is False


class TestWithoutGuests:
    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__GUESTS": "false"}

    async def test_strangers_are_not_let_in(self, app: App, client: Client) -> None:
        ann = await signed_up(client)
        session_id = (await made(ann))["id"]
        token = (await ann.post(f"/sessions/{session_id}/join")).json()["token"]
        stranger = f"{GUEST_COOKIE}={app.parts.keys.new_guest_cookie()}"
        for headers in ({}, {"Cookie": stranger}):
            async with connected(app, VOICE, headers) as ws:
                assert await ws.closed() == 1008
        async with connected(app, f"{VOICE}?token={token}") as ws:
            assert (await ws.event())["session_id"] == session_id
        async with connected(app, VOICE, cookie_of(ann)) as ws:
            assert (await ws.event())["type"] == "connected"
