"""An avatar from elsewhere in a talk: it gets what the client gets, and never gets in the talk's way."""

import asyncio
from typing import Any

from pipeline.contracts import AvatarError
from pipeline.figures import Figures
from pipeline.outbox import Outbox
from pipeline.setup import Setup
from tests.support.avatar_elsewhere import Elsewhere, Picture

PCM = b"\x01\x02" * 480


class Talk:
    """A session's outbox, and an avatar that listens at it."""

    def __init__(self, how: str = "", marks: bool = True, avatar: str = "") -> None:
        self.engine = Elsewhere("http://127.0.0.1:9", how)
        self.figures = Figures("elsewhere", self.engine, timeout_s=0.2)
        self.outbox = Outbox()
        self.setup = Setup(marks=marks, avatar=avatar)
        self.figures.follow("s1", self.setup, self.outbox)

    async def begin(self) -> Picture:
        self.outbox.put({"type": "response.begin", "turn": 0, "response_id": "r0"})
        await settled()
        return self.engine.opened[0]

    def reply(self, name: str, *, offset_ms: int = 0) -> None:
        self.outbox.put({"type": "response.begin", "turn": 1, "response_id": name})
        text = {"type": "agent_response", "turn": 1, "response_id": name}
        self.outbox.put({**text, "text": "Good ", "final": False})
        self.outbox.put({**text, "text": "morning.", "final": False})
        more = {"offset_ms": offset_ms} if offset_ms else {}
        self.outbox.put({"type": "audio.begin", "response_id": name, "rate": 24_000, **more})
        self.outbox.audio(PCM)
        mark = {"text_start": 5, "text_end": 13, "start_ms": 300}
        self.outbox.put({"type": "audio.mark", "response_id": name, **mark})

    def told(self) -> list[dict[str, Any]]:
        """The avatar's messages to the client."""
        items = []
        while (item := self.outbox.take()) is not None:
            items.append(item)
        return [item for item in items if isinstance(item, dict) and item["type"] == "avatar"]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_gets_what_the_client_gets_in_order() -> None:
    talk = Talk()
    picture = await talk.begin()
    assert talk.told() == [{"type": "avatar", "view": {"kind": "embed", "url": "http://127.0.0.1:9#"}}]
    assert talk.figures.told("s1") == {"avatar": {"kind": "embed", "url": "http://127.0.0.1:9#"}}
    talk.reply("r1")
    talk.outbox.put({"type": "duck", "response_id": "r1"})
    talk.outbox.put({"type": "unduck", "response_id": "r1"})
    talk.outbox.put({"type": "audio.end", "response_id": "r1", "duration_ms": 20})
    talk.reply("r2")
    talk.outbox.put({"type": "interrupted", "response_id": "r2", "heard_ms": 10, "heard_text": ""})
    mark = ("mark", "morning.", 300)
    assert picture.told == [
        ("begin", "r1", 24_000, 0),
        mark,
        ("duck", True),
        ("duck", False),
        ("finish",),
        ("begin", "r2", 24_000, 0),
        mark,
        ("interrupt",),
    ]
    assert bytes(picture.fed) == PCM * 2
    talk.outbox.close()
    await settled()
    assert picture.closed
    assert talk.told() == []  # nobody is there to be told
    assert talk.figures.told("s1") == {}


async def test_one_that_comes_in_the_middle_of_a_reply_waits_for_the_next() -> None:
    talk = Talk()
    talk.reply("r1")
    await settled()
    picture = talk.engine.opened[0]
    talk.outbox.audio(PCM)
    talk.outbox.put({"type": "audio.end", "response_id": "r1", "duration_ms": 40})
    assert (picture.told, bytes(picture.fed)) == ([], b"")
    talk.reply("r2")
    assert picture.told[0] == ("begin", "r2", 24_000, 0)
    await talk.figures.aclose()
    assert picture.closed


async def test_after_a_lost_connection_it_drops_what_it_had_and_gets_the_rest_again() -> None:
    talk = Talk()
    picture = await talk.begin()
    talk.reply("r1")
    talk.outbox.put({"type": "audio.begin", "response_id": "r1", "rate": 24_000, "offset_ms": 400})
    assert picture.told[-2:] == [("interrupt",), ("begin", "r1", 24_000, 400)]
    await talk.figures.aclose()


async def test_one_that_goes_away_is_told_and_done_without() -> None:
    talk = Talk()
    picture = await talk.begin()
    talk.told()
    picture.lost.set_exception(AvatarError("it left"))
    await settled()
    assert talk.told() == [{"type": "avatar", "view": None}]
    assert picture.closed
    talk.reply("r1")  # harmless
    assert picture.told == []


async def test_one_that_fails_or_never_answers_is_never_mentioned() -> None:
    for how in ("refused", "hang"):
        talk = Talk(how)
        talk.reply("r1")
        await asyncio.sleep(0.3)
        assert talk.told() == []
        assert talk.figures.told("s1") == {}
        talk.reply("r2")
        await talk.figures.aclose()


async def test_a_client_without_marks_and_an_agent_that_is_drawn_get_none() -> None:
    for talk in (Talk(marks=False), Talk(avatar="orb")):
        talk.reply("r1")
        await settled()
        assert talk.engine.opened == []


async def test_a_talk_in_which_nothing_happened_opens_nothing() -> None:
    talk = Talk()
    talk.outbox.close()
    await settled()
    assert talk.engine.opened == []


def test_an_agent_s_own_wish_goes_before_the_installation_s() -> None:
    figures = Figures("orb")
    assert figures.name_for("") == "orb"
    assert figures.name_for("face") == "face"
    assert list(figures.frames) == []
