"""Beyond Presence: the requests it is sent, the tokens that are signed, what its avatar hears, its errors."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import AvatarError, AvatarSetup, Env, Failure, MissingKey, Unavailable
from tests.plugins.test_avatar_conformance import KEYS, rtc  # noqa: F401 - a fixture
from tests.support.vendors.bey import AVATAR, Bey
from tests.support.vendors.place import KEY, Trouble

WHO = "bey-avatar-agent"


def engine(vendor: Bey, keys: dict[str, str] | None = None, **options: Any) -> Any:
    given = {"avatar_id": AVATAR, "livekit_url": "wss://rooms.example", "base_url": vendor.url, **options}
    return plugins.build("avatar", "bey", given, Env(KEYS if keys is None else keys))


def claims(token: str, secret: str = KEYS["LIVEKIT_API_SECRET"]) -> dict[str, Any]:
    """What a token says, its signature checked as LiveKit does (HS256)."""
    head, body, mac = token.split(".")
    signed = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(signed).rstrip(b"=").decode() == mac

    def read(part: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return found

    assert read(head) == {"alg": "HS256", "typ": "JWT"}
    return read(body)


async def opened(vendor: Bey, rtc: Any, **options: Any) -> Any:  # noqa: F811
    vendor.invited = lambda _body: rtc.rooms[-1].enter(WHO)
    bey = engine(vendor, **options)
    await bey.warm()
    return await bey.open(AvatarSetup())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_avatar_is_invited_into_a_room_of_its_own(rtc: Any) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        avatar = await opened(vendor, rtc)
        [seen] = vendor.seen
        assert (seen.method, seen.path, seen.headers["x-api-key"]) == ("POST", "/v1/sessions", KEY)
        body = seen.json
        assert {k: v for k, v in body.items() if k != "token"} == {
            "avatar_id": AVATAR,
            "transport": "livekit",
            "url": "wss://rooms.example",
        }
        theirs, ours, client = claims(body["token"]), claims(rtc.rooms[-1].token), claims(avatar.view.token)
        assert theirs["sub"] == WHO
        assert theirs["attributes"] == {"lk.publish_on_behalf": "parley"}
        assert (ours["sub"], ours["kind"], ours["iss"]) == ("parley", "agent", "APIkey")
        room = avatar.view.room
        assert theirs["video"] == ours["video"] == {"roomJoin": True, "room": room}
        # Whoever talks may watch, and nothing else.
        assert client["video"] == {
            "roomJoin": True,
            "room": room,
            "canSubscribe": True,
            "canPublish": False,
            "canPublishData": False,
        }
        assert client["exp"] > theirs["exp"] > theirs["nbf"]
        assert avatar.view.kind == "livekit"
        await avatar.aclose()
        assert rtc.rooms[-1].left


async def test_a_viewer_page_gets_the_room_behind_the_hash(rtc: Any) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        avatar = await opened(vendor, rtc, viewer_url="https://avatar.example.org/watch")
        page, _, secret = avatar.view.url.partition("#")
        assert (avatar.view.kind, page) == ("embed", "https://avatar.example.org/watch")
        assert secret.startswith("url=wss%3A%2F%2Frooms.example&token=ey")
        assert engine(vendor, viewer_url=page).frames == ("https://avatar.example.org",)
        await avatar.aclose()


async def test_each_reply_is_one_stream_and_an_interruption_clears_it(rtc: Any) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        avatar = await opened(vendor, rtc)
        me = rtc.rooms[-1].local_participant
        avatar.begin("r1", 24_000, 0)
        avatar.feed(b"ab" * 10)
        avatar.feed(b"cd" * 10)
        avatar.finish()
        avatar.begin("r2", 16_000, 0)
        avatar.feed(b"ef" * 10)
        await settled()
        first, second = me.streams
        assert (first.topic, first.to) == ("lk.audio_stream", [WHO])
        assert first.attributes == {"sample_rate": "24000", "num_channels": "1"}
        assert (bytes(first.data), first.closed) == (b"ab" * 10 + b"cd" * 10, True)
        assert (bytes(second.data), second.closed) == (b"ef" * 10, False)
        avatar.feed(b"gh" * 10)
        avatar.interrupt()  # before that was sent: it never is
        avatar.feed(b"ij" * 10)
        await settled()
        assert (bytes(second.data), second.closed) == (b"ef" * 10, True)
        assert me.calls == [(WHO, "lk.clear_buffer", "")]
        await avatar.aclose()


async def test_it_waits_until_the_avatar_shows_itself(rtc: Any) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        bey = engine(vendor)
        await bey.warm()
        opening = asyncio.create_task(bey.open(AvatarSetup()))
        while not vendor.seen:
            await asyncio.sleep(0.01)
        assert not opening.done()
        rtc.rooms[-1].enter("somebody else")
        await settled()
        assert not opening.done()
        while not opening.done():
            if WHO not in rtc.rooms[-1].remote_participants:
                rtc.rooms[-1].enter(WHO)
            await asyncio.sleep(0.01)
        await (await opening).aclose()


@pytest.mark.usefixtures("no_leaks")
async def test_called_off_it_leaves_the_room(rtc: Any) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        bey = engine(vendor)
        await bey.warm()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await bey.open(AvatarSetup())  # nobody comes
        assert rtc.rooms[-1].left


@pytest.mark.parametrize("how", ["stream", "room", "slow"])
async def test_what_breaks_in_the_middle_is_told(rtc: Any, how: str) -> None:  # noqa: F811
    async with Bey().serving() as vendor:
        avatar = await opened(vendor, rtc)
        avatar.begin("r1", 24_000, 0)
        await settled()
        if how == "stream":
            rtc.rooms[-1].local_participant.streams[-1].fails = True
            avatar.feed(bytes(2))
        elif how == "room":
            rtc.rooms[-1].emit("disconnected", 1)
        else:
            for _ in range(2000):
                avatar.feed(bytes(2))
        with pytest.raises(AvatarError):
            async with asyncio.timeout(2):
                await avatar.gone()
        await avatar.aclose()


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble(status=401, message="Invalid API key."), Failure.AUTH),
        (Trouble(status=402, message="Usage limit reached."), Failure.QUOTA),
        (Trouble(status=429, retry_after="7"), Failure.QUOTA),
        (Trouble(status=422), Failure.BAD_REQUEST),
        (Trouble(status=500), Failure.TRANSIENT),
        (Trouble(status=503), Failure.TRANSIENT),
    ],
)
async def test_refusals_are_typed_and_the_room_is_left(rtc: Any, trouble: Trouble, kind: Failure) -> None:  # noqa: F811
    async with Bey(trouble).serving() as vendor:
        bey = engine(vendor)
        await bey.warm()
        with pytest.raises(AvatarError) as caught:
            await bey.open(AvatarSetup())
        assert caught.value.kind is kind
        assert KEY not in str(caught.value)
        if trouble.retry_after:
            assert caught.value.retry_after_s == 7
        assert rtc.rooms[-1].left


async def test_a_room_that_cannot_be_entered_costs_no_session(
    rtc: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtc, "fail_connect", True)
    async with Bey().serving() as vendor:
        bey = engine(vendor)
        await bey.warm()
        with pytest.raises(AvatarError, match="LiveKit room cannot be entered"):
            await bey.open(AvatarSetup())
        assert vendor.seen == []


async def test_the_check_names_what_to_change() -> None:
    async with Bey().serving() as vendor:
        await engine(vendor).probe()
        assert vendor.seen[-1].path == f"/v1/avatars/{AVATAR}"
        with pytest.raises(AvatarError, match="look at BEY_API_KEY"):
            await engine(vendor, {**KEYS, "BEY_API_KEY": "wrong"}).probe()
        with pytest.raises(AvatarError, match=r"look at \[avatar.bey\] avatar_id"):
            await engine(vendor, avatar_id="a b/c").probe()
        vendor.status = "training"
        with pytest.raises(AvatarError, match="not ready"):
            await engine(vendor).probe()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Unavailable, match="avatar_id is missing"):
        plugins.build("avatar", "bey", {}, Env(KEYS))
    options = {"avatar_id": AVATAR, "livekit_url": "wss://rooms.example"}
    for name in KEYS:
        with pytest.raises(MissingKey, match=name):
            plugins.build("avatar", "bey", options, Env({k: v for k, v in KEYS.items() if k != name}))


async def test_without_livekit_s_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "livekit", None)
    options = {"avatar_id": AVATAR, "livekit_url": "wss://rooms.example"}
    with pytest.raises(Unavailable, match=r"pip install 'parley\[bey\]'"):
        await plugins.build("avatar", "bey", options, Env(KEYS)).warm()
