"""A user's talks: found, read, exported, shared, deleted; and a guest who signs up keeps his."""

import asyncio
from datetime import timedelta

import httpx2
import pytest

from server.app import App
from server.auth import GUEST_COOKIE
from server.plans import Plan
from server.removal import Removal
from tests.routes.conftest import Client, signed_up
from tests.routes.talks import ANSWER, SHORT, talk, talking, user_of

STRANGER = "20200101_000000_aaaaaaaaaaaaaaaaaaaa"
HISTORY = "/api/users/history"


@pytest.fixture
def settings() -> dict[str, str]:
    return SHORT


async def listed(browser: httpx2.AsyncClient, **query: str | int) -> list[str]:
    answer = await browser.get(HISTORY, params=query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["total"] >= len(found["items"])
    return [item["session_id"] for item in found["items"]]


async def test_my_talks_are_listed_newest_first_and_found_by_words(app: App, client: Client) -> None:
    browser, other = await signed_up(client), await signed_up(client, "bob@example.org")
    ann = await user_of(app)
    first = await talk(app, "I need a dentist", user=ann)
    await app.parts.conversations.give(first, ann.owner, ann.id)
    second = await talk(app, "the weather, please", user=ann)
    await talk(app, "a dentist for a guest", guest="guest:1")
    newest_first = sorted((first, second), reverse=True)
    found = (await browser.get(HISTORY)).json()
    assert sorted((i["session_id"] for i in found["items"]), reverse=True) == newest_first
    item = next(i for i in found["items"] if i["session_id"] == first)
    assert (item["turns"], item["is_live"], item["snippet"]) == (1, False, [])
    assert await listed(browser, q="DENT") == [first]
    found = (await browser.get(HISTORY, params={"q": "dentist"})).json()
    assert found["total"] == 1
    assert found["items"][0]["snippet"] == [
        {"text": "I need a ", "hit": False},
        {"text": "dentist", "hit": True},
    ]
    assert await listed(browser, q="nothing like it") == []
    assert len(await listed(browser, limit=1)) == 1
    assert await listed(browser, offset=2) == []
    assert await listed(other) == []
    assert await listed(other, q="dentist") == []


async def test_days_are_in_the_list_whole(app: App, client: Client) -> None:
    browser = await signed_up(client)
    session_id = await talk(app, "hello", user=await user_of(app))
    day = f"{session_id[:4]}-{session_id[4:6]}-{session_id[6:8]}"
    assert await listed(browser, **{"from": day, "to": day}) == [session_id]
    assert await listed(browser, to=f"{day}T00:00:00Z") == []
    assert await listed(browser, **{"from": f"{day}T23:59:59.999Z"}) == []
    assert await listed(browser, **{"from": "2000-01-01", "to": "2000-12-31"}) == []


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "to=9999-12-31", "from=0001-01-01T00:00:00%2B05:00", "limit=101", f"q={'x' * 201}"],
)
async def test_a_filter_that_cannot_be_is_refused(client: Client, query: str) -> None:
    browser = await signed_up(client)
    assert (await browser.get(f"{HISTORY}?{query}")).status_code == 422


async def test_odd_searches_find_nothing_and_break_nothing(app: App, client: Client) -> None:
    browser = await signed_up(client)
    await talk(app, "hello", user=await user_of(app))
    for q in ('"', "'", "a AND (", "hel%00lo", "*", "NOT", "\\", "' OR 1=1 --", "%", "x:y", "^"):
        assert await listed(browser, q=q) == []


async def test_a_talk_is_told_with_all_that_is_known(app: App, client: Client) -> None:
    browser = await signed_up(client)
    session_id = await talk(app, "hello there", user=await user_of(app))
    found = (await browser.get(f"{HISTORY}/{session_id}")).json()
    user, agent = found["messages"]
    assert (user["role"], user["content"], user["audio_url"]) == ("user", "hello there", None)
    assert agent["content"] == ANSWER
    assert agent["audio_url"] == f"/api/audio/{session_id}/0001_agent.mp3"
    spoken = [ANSWER[start:end].strip() for start, end, _ in agent["words"]]
    assert " ".join(spoken) == ANSWER
    times = [start_ms for _, _, start_ms in agent["words"]]
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] < agent["end_ms"] - agent["start_ms"]
    assert found["turns"][0]["turn"] == 1
    assert {"voice_to_voice_ms", "llm_ttft_ms", "tts_ttfb_ms", "cost"} <= found["turns"][0].keys()
    assert [row["stage"] for row in found["requests"]] == ["llm", "tts"]
    assert found["cost_breakdown"]["total_cost"] == 0
    assert "hello there" in found["summary"]
    assert found["audio_url"] == f"/api/audio/{session_id}/conversation.mp3"
    assert found["is_live"] is False
    assert found["shared_until"] is None
    sound = await browser.get(found["audio_url"])
    assert (sound.status_code, sound.headers["content-type"]) == (200, "audio/mpeg")


async def test_of_what_was_cut_only_the_words_heard_have_times(app: App, client: Client) -> None:
    browser = await signed_up(client)
    user = await user_of(app)
    session = app.sessions.open(Plan(owner=user.owner, user_id=user.id))
    session.attach(lambda: None)
    session.do({"type": "text_message", "message": "hello"})
    async with asyncio.timeout(20):
        while session.speaking.current is None or not session.speaking.current.said.marks:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.03)
    await session.end("over")
    found = (await browser.get(f"{HISTORY}/{session.id}")).json()
    reply = found["messages"][1]
    assert reply["interrupted"] is True
    assert len(reply.get("words", [])) < len(ANSWER.split())


async def test_a_live_talk_is_in_the_history(app: App, client: Client) -> None:
    browser = await signed_up(client)
    async with talking(app, "hello", user=await user_of(app)) as session:
        async with asyncio.timeout(10):
            while (await browser.get(f"{HISTORY}/{session.id}")).status_code != 200:
                await asyncio.sleep(0.02)
        assert (await browser.get(f"{HISTORY}/{session.id}")).json()["is_live"] is True
        assert await listed(browser) == [session.id]
        await session.end("over")


async def test_what_is_not_mine_is_not_there(app: App, client: Client) -> None:
    admin, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    hers = await talk(app, "hello", user=await user_of(app, "bob@example.org"))
    guests = await talk(app, "hello", guest="guest:1")
    for session_id in (hers, guests, STRANGER, "nonsense", "..%2F..%2Fetc"):
        path = f"{HISTORY}/{session_id}"
        assert (await admin.get(path)).status_code == 404
        assert (await admin.get(f"{path}/export")).status_code == 404
        assert (await admin.delete(path)).status_code == 404
        assert (await admin.post(f"{path}/share", json={})).status_code == 404
        assert (await admin.delete(f"{path}/share")).status_code == 404
    assert (await bob.get(f"{HISTORY}/{hers}")).status_code == 200


async def test_a_talk_is_deleted_with_its_files(app: App, client: Client) -> None:
    browser = await signed_up(client)
    user = await user_of(app)
    session_id = await talk(app, "hello", user=user)
    link = (await browser.post(f"{HISTORY}/{session_id}/share", json={"hours": 1})).json()
    assert (await browser.delete(f"{HISTORY}/{session_id}")).status_code == 204
    assert (await browser.get(f"{HISTORY}/{session_id}")).status_code == 404
    assert (await browser.get(f"/api/conversation/{session_id}")).status_code == 404
    assert (await browser.get(f"/share/{link['key']}")).status_code == 404
    assert not app.archive.json_path(session_id).exists()
    assert not app.archive.audio_path(session_id, "conversation.mp3").exists()
    async with talking(app, "hello", user=user) as session:
        async with asyncio.timeout(10):
            while (await browser.delete(f"{HISTORY}/{session.id}")).status_code != 204:
                await asyncio.sleep(0.02)
        assert len(app.sessions) == 0
    assert await listed(browser) == []


@pytest.mark.parametrize(
    ("kind", "media", "content"),
    [
        ("json", "application/json", '"session_id"'),
        ("txt", "text/plain; charset=utf-8", "User: hello there\nAgent: Yes, of course.\n"),
        ("srt", "application/x-subrip; charset=utf-8", "\nAgent: Yes, of course.\n"),
        ("vtt", "text/vtt; charset=utf-8", "<v Agent>Yes, of course.\n"),
    ],
)
async def test_a_talk_is_exported(app: App, client: Client, kind: str, media: str, content: str) -> None:
    browser = await signed_up(client)
    session_id = await talk(app, "hello there", user=await user_of(app))
    answer = await browser.get(f"{HISTORY}/{session_id}/export", params={"format": kind})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media
    assert f'filename="{session_id}.{kind}"' in answer.headers["content-disposition"]
    assert content in answer.text


async def test_a_talks_sound_is_exported_if_there_is_any(app: App, client: Client) -> None:
    browser = await signed_up(client)
    session_id = await talk(app, "hello there", user=await user_of(app))
    path = f"{HISTORY}/{session_id}/export"
    answer = await browser.get(path, params={"format": "mp3"})
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.content == app.archive.audio_path(session_id, "conversation.mp3").read_bytes()
    assert (await browser.get(path, params={"format": "doc"})).status_code == 422
    app.archive.audio_path(session_id, "conversation.mp3").unlink()
    assert (await browser.get(path, params={"format": "mp3"})).status_code == 404


async def test_a_shared_talk_is_everybodys_who_has_the_link(app: App, client: Client) -> None:
    browser, stranger = await signed_up(client), client()
    session_id = await talk(app, "hello there", user=await user_of(app))
    answer = await browser.post(f"{HISTORY}/{session_id}/share", json={"hours": 2})
    assert answer.status_code == 201
    link = answer.json()
    assert link["url"] == f"http://parley.test/share/{link['key']}"
    detail = (await browser.get(f"{HISTORY}/{session_id}")).json()
    assert (detail["shared_until"], detail["shared_opened"]) == (link["expires_at"], 0)
    answer = await stranger.get(f"/share/{link['key']}")
    shown = answer.json()
    assert answer.headers["cache-control"] == "private, no-store"
    assert (await browser.get(f"{HISTORY}/{session_id}")).json()["shared_opened"] == 1
    assert [m["content"] for m in shown["messages"]] == ["hello there", ANSWER]
    assert not {"user_id", "session_id", "turns", "cost_breakdown", "config"} & shown.keys()
    assert session_id not in answer.text
    for url in (shown["audio_url"], shown["messages"][1]["audio_url"]):
        sound = await stranger.get(url, headers={"Range": "bytes=0-9"})
        assert (sound.status_code, len(sound.content)) == (206, 10)
    assert (await stranger.get(f"/share/{link['key']}/audio/spool.pcm")).status_code == 404
    assert (await stranger.get(f"/api/conversation/{session_id}")).status_code == 404
    assert (await browser.delete(f"{HISTORY}/{session_id}/share")).status_code == 204
    assert (await stranger.get(f"/share/{link['key']}")).status_code == 404
    assert (await stranger.get(shown["audio_url"])).status_code == 404


async def test_a_link_expires_and_dies_with_its_owners_account(app: App, client: Client) -> None:
    await signed_up(client)
    user, stranger = await user_of(app), client()
    session_id = await talk(app, "hello", user=user)
    share = app.parts.credentials.share
    late, _ = await share(user.id, session_id, timedelta(seconds=-1))
    good, _ = await share(user.id, session_id, timedelta(hours=1))
    assert (await stranger.get(f"/share/{late}")).status_code == 404
    assert (await stranger.get(f"/share/{good}")).status_code == 200
    assert (await stranger.get("/share/made-up")).status_code == 404
    await app.parts.accounts.change(user.id, is_disabled=True)
    assert (await stranger.get(f"/share/{good}")).status_code == 404


@pytest.mark.parametrize("hours", [0, -1, 1e9, "x"])
async def test_a_link_has_a_sensible_time(app: App, client: Client, hours: object) -> None:
    browser = await signed_up(client)
    session_id = await talk(app, "hello", user=await user_of(app))
    answer = await browser.post(f"{HISTORY}/{session_id}/share", json={"hours": hours})
    assert answer.status_code == 422


async def guest(client: Client) -> tuple[httpx2.AsyncClient, str]:
    """A visitor's browser, and the key that its talks are stored under."""
    browser = client()
    assert (await browser.get("/")).status_code == 200
    cookie = next(c.value or "" for c in browser.cookies.jar if c.name == GUEST_COOKIE)
    return browser, cookie


async def owner(app: App, cookie: str) -> str:
    scope = {"path": "/", "headers": [(b"cookie", f"{GUEST_COOKIE}={cookie}".encode())]}
    return (await app.parts.identity.of(scope)).owner


async def test_a_guest_who_signs_up_keeps_his_talks(app: App, client: Client) -> None:
    browser, cookie = await guest(client)
    stranger, key = client(), await owner(app, cookie)
    over = await talk(app, "the first talk", guest=key)
    foreign = await talk(app, "another guest's", guest="guest:other")
    async with talking(app, "the second talk", guest=key) as session:
        assert (await stranger.get(f"/api/conversation/{over}")).status_code == 200
        account = {"email": "ann@example.org", "password": "a long and odd sentence"}
        assert (await browser.post("/api/auth/register", json=account)).status_code == 201
        await session.end("over")
    user = await user_of(app)
    assert sorted(await listed(browser)) == sorted([over, session.id])
    assert await listed(browser, q="first") == [over]
    for session_id in (over, session.id):
        row = await app.parts.conversations.get(session_id)
        assert row is not None
        assert (row["owner"], row["user_id"]) == (user.owner, user.id)
        conversation = await app.archive.conversation(session_id)
        assert conversation is not None
        assert conversation["user_id"] == user.id
        assert [m["role"] for m in conversation["messages"]] == ["user", "assistant"]
        journal = app.archive.journal_path(session_id).read_text("utf-8")
        assert f'"owner",{{"owner":"{user.owner}","user_id":"{user.id}"}}' in journal
        for path in ("conversation", "download", "audio"):
            assert (await stranger.get(f"/api/{path}/{session_id}")).status_code == 404
            assert (await browser.get(f"/api/{path}/{session_id}")).status_code == 200
        sound = f"/api/audio/{session_id}/conversation.mp3"
        assert (await stranger.get(sound)).status_code == 404
        assert (await browser.get(sound)).status_code == 200
    assert (await stranger.get(f"/api/conversation/{foreign}")).status_code == 200


async def test_who_only_logs_in_takes_no_ended_talks_of_the_browser(app: App, client: Client) -> None:
    await signed_up(client)
    browser, cookie = await guest(client)
    over = await talk(app, "hello", guest=await owner(app, cookie))
    account = {"email": "ann@example.org", "password": "a long and odd sentence"}
    assert (await browser.post("/api/auth/login", json=account)).status_code == 200
    assert await listed(browser) == []
    assert (await client().get(f"/api/conversation/{over}")).status_code == 200


async def test_a_guests_talk_in_another_worker_follows_him(app: App, client: Client) -> None:
    browser = await signed_up(client)
    user = await user_of(app)
    async with talking(app, "hello", guest="guest:1") as session:
        await app.parts.accounts.adopt("guest:1", user.id)  # which another worker does
        await Removal(app.parts).look()
        await session.end("over")
    assert await listed(browser) == [session.id]
