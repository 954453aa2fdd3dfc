"""What every avatar plug-in must do: be drawn by the page, or open, be spoken to, be gone."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import AvatarError, AvatarSetup, AvatarView, Env
from tests.support.avatar_elsewhere import Elsewhere
from tests.support.vendors.bey import AVATAR, Bey
from tests.support.vendors.place import KEY

DRAWN = ("face", "none", "orb")
ELSEWHERE = ("bey", "elsewhere")
STANDINS = Path(__file__).parents[1] / "support" / "standins"
KEYS = {"BEY_API_KEY": KEY, "LIVEKIT_API_KEY": "APIkey", "LIVEKIT_API_SECRET": "secret-of-the-test"}


def test_every_avatar_plugin_has_a_case() -> None:
    assert sorted({*DRAWN, *ELSEWHERE} - {"elsewhere"}) == plugins.names("avatar")


@pytest.mark.parametrize("name", DRAWN)
async def test_what_the_page_draws_needs_nothing(name: str) -> None:
    engine = plugins.build("avatar", name, {}, Env())
    await engine.warm()
    assert engine.drawn
    assert list(engine.frames) == []
    with pytest.raises(AvatarError):
        await engine.open(AvatarSetup())
    await engine.aclose()


@pytest.fixture
def rtc(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`livekit.rtc`, stood in for."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "livekit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(STANDINS)
    import importlib

    module = importlib.import_module("livekit.rtc")
    yield module
    for name in [n for n in sys.modules if n.partition(".")[0] == "livekit"]:
        del sys.modules[name]


Opened = Callable[[], Any]


@asynccontextmanager
async def opened(name: str, rtc: Any) -> AsyncIterator[tuple[Any, Any, Opened]]:
    """An engine, an avatar of it, and what makes it go away."""
    if name == "elsewhere":
        engine = Elsewhere("http://127.0.0.1:9")
        avatar = await engine.open(AvatarSetup())
        yield engine, avatar, lambda: avatar.lost.set_exception(AvatarError("gone"))
        await avatar.aclose()
        return
    async with Bey().serving() as vendor:
        vendor.invited = lambda _body: rtc.rooms[-1].enter("bey-avatar-agent")
        options = {"avatar_id": AVATAR, "livekit_url": "wss://rooms.example", "base_url": vendor.url}
        bey = plugins.build("avatar", "bey", options, Env(KEYS))
        await bey.warm()
        picture = await bey.open(AvatarSetup())
        yield bey, picture, lambda: rtc.rooms[-1].leave("bey-avatar-agent")
        await picture.aclose()
        await bey.aclose()


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_it_says_what_to_show_and_never_a_key(name: str, rtc: Any) -> None:
    async with opened(name, rtc) as (engine, avatar, _):
        assert not engine.drawn
        assert isinstance(avatar.view, AvatarView)
        assert avatar.view.kind in ("embed", "livekit")
        assert avatar.view.url
        text = json.dumps([avatar.view.url, avatar.view.token, avatar.view.room])
        assert not any(secret in text for secret in (KEY, "secret-of-the-test"))


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_everything_it_is_told_in_a_talk_is_taken(name: str, rtc: Any) -> None:
    async with opened(name, rtc) as (_, avatar, _gone):
        for reply in ("r1", "r2"):
            avatar.begin(reply, 24_000, 0)
            avatar.mark("Hello \U0001f600", 0)
            avatar.feed(bytes(4800))
            avatar.duck(True)
            avatar.duck(False)
            avatar.feed(bytes(2))
            avatar.finish()
        avatar.interrupt()
        avatar.interrupt()  # nothing is being said any more
        avatar.begin("r3", 8000, 400)
        avatar.interrupt()
        avatar.feed(bytes(320))  # what was under way


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_it_says_when_it_is_gone(name: str, rtc: Any) -> None:
    async with opened(name, rtc) as (_, avatar, go):
        go()
        with pytest.raises(AvatarError):
            await avatar.gone()


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("name", ELSEWHERE)
async def test_it_leaves_nothing_behind(name: str, rtc: Any) -> None:
    async with opened(name, rtc) as (_, avatar, _gone):
        avatar.begin("r1", 24_000, 0)
        avatar.feed(bytes(4800))
