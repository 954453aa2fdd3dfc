"""A call in which each stage's first vendor dies in mid-call: the caller hears one conversation.

A real server, real vendors' plug-ins on their fakes, a real caller with recorded speech, in real time.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import pytest
import pytest_asyncio

from tests.support.caller import Caller
from tests.support.live import LiveServer
from tests.support.speech import clip
from tests.support.stored import Stored
from tests.support.vendors.anthropic import Anthropic
from tests.support.vendors.cartesia import Cartesia
from tests.support.vendors.deepgram_listen import DeepgramListen
from tests.support.vendors.elevenlabs_tts import ElevenLabsTts
from tests.support.vendors.openai_chat import OpenAiChat
from tests.support.vendors.place import KEY, Trouble
from tests.support.vendors.talker import Reply

pytestmark = pytest.mark.slow

GO_FORWARD = clip("goforward.wav")
FIRST = "The first answer is whole."
SECOND = "The second one began here, in the words of one model, and while it was still going on nicely the"
REST = " next one brought it to its end. That was all of it."
KEYS = ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ELEVENLABS_API_KEY", "CARTESIA_API_KEY")
LONGEST_GAP_MS = 500
"""Of silence inside a reply: a pause between two sentences is as long."""


class Mind(OpenAiChat):
    """Answers the first time whole, the second time slowly."""

    def reply(self, text: str, result: str, offered: Sequence[str]) -> Reply:
        del text, result, offered
        return Reply(FIRST if len(self.asked) == 1 else f"{SECOND} rest never comes from here.")


class SecondMind(Anthropic):
    """Goes on with what the first one began."""

    def reply(self, text: str, result: str, offered: Sequence[str]) -> Reply:
        del text, result, offered
        return Reply(REST.strip())


@dataclass
class Vendors:
    """The five, each on a port of its own."""

    ear: DeepgramListen
    mind: OpenAiChat
    second_mind: Anthropic
    voice: ElevenLabsTts
    second_voice: Cartesia

    def settings(self) -> dict[str, str]:
        return {
            **dict.fromkeys(KEYS, KEY),
            "PARLEY_STT__PLUGIN": '["deepgram", "pocketsphinx"]',
            "PARLEY_LLM__PLUGIN": '["openai", "anthropic"]',
            "PARLEY_TTS__PLUGIN": '["elevenlabs", "cartesia"]',
            "PARLEY_STT__DEEPGRAM__BASE_URL": self.ear.ws_url,
            "PARLEY_LLM__OPENAI__BASE_URL": f"{self.mind.url}/v1",
            "PARLEY_LLM__ANTHROPIC__BASE_URL": self.second_mind.url,
            "PARLEY_TTS__ELEVENLABS__BASE_URL": self.voice.url,
            "PARLEY_TTS__CARTESIA__BASE_URL": self.second_voice.url,
            "PARLEY_PIPELINE__GREETING": "",
            "PARLEY_TURN__SPECULATE": "false",
        }


@pytest_asyncio.fixture
async def vendors() -> AsyncIterator[Vendors]:
    async with AsyncExitStack() as stack:

        async def open_(vendor: Any) -> Any:
            return await stack.enter_async_context(vendor.serving())

        yield Vendors(
            await open_(DeepgramListen()),
            await open_(Mind()),
            await open_(SecondMind()),
            await open_(ElevenLabsTts()),
            await open_(Cartesia()),
        )


async def test_the_caller_hears_one_conversation(
    vendors: Vendors, live_server: Callable[..., LiveServer]
) -> None:
    server = live_server(**vendors.settings())
    # Sound comes at about the pace of speech: no lead to hide behind.
    vendors.voice.troubles.extend([Trouble(each_ms=90)] * 12)
    async with Caller.dialing(server.ws) as caller:
        await caller.pause(300)
        await caller.play(GO_FORWARD)
        first = await caller.hears("turn.metrics", lambda d: d["turn"] == 1)
        await caller.is_idle()

        vendors.mind.troubles.append(Trouble(each_ms=60))
        began = caller.mic_ms
        speaking = asyncio.create_task(caller.play(GO_FORWARD))
        await caller.recorded(began + 1400)
        vendors.ear.die()  # in mid-utterance
        await speaking
        words = await caller.hears("response.begin", lambda d: d["turn"] == 2)
        reply_id = words.data["response_id"]
        shown = [m async for m in deltas(caller, reply_id, until=len(SECOND))]
        vendors.mind.die()  # in mid-answer
        await caller.hears("sound", lambda d: d["response_id"] == reply_id)
        await caller.pause(400)
        vendors.voice.die()  # in mid-word
        second = await caller.hears("turn.metrics", lambda d: d["turn"] == 2)
        await caller.is_idle()
        async with httpx2.AsyncClient() as http:
            health = (await http.get(f"{server.url}/health")).json()
        await caller.hang_up()

    assert shown
    assert first.data["plugins"] == {"stt": "deepgram", "llm": "openai", "tts": "elevenlabs"}
    assert second.data["plugins"] == {"stt": "pocketsphinx", "llm": "anthropic", "tts": "cartesia"}
    assert {(f["stage"], f["plugin"], f["kind"]) for f in second.data["failovers"]} == {
        ("stt", "deepgram", "transient"),
        ("llm", "openai", "transient"),
        ("tts", "elevenlabs", "transient"),
    }
    assert [m.data["text"] for m in caller.finals()] == ["go forward ten meters"] * 2
    text = caller.all("agent_response")[-1].data["text"]
    assert text.startswith(SECOND[:60])
    assert text.endswith(REST)
    assert caller.all("error") == []
    for stage in ("stt", "llm", "tts"):
        members = health["stages"][stage]["members"]
        assert [m["state"] for m in members] == ["resting", "ok"]
        assert members[0]["kind"] == "transient"
    assert longest_gap_ms(server, caller, reply_id) < LONGEST_GAP_MS


async def deltas(caller: Caller, reply_id: str, until: int) -> AsyncIterator[str]:
    """The pieces of a reply's text as they come, until so many characters of it have."""
    since, length = 0, 0
    while length < until:
        moment = await caller.hears(
            "agent_response", lambda d: d["response_id"] == reply_id and not d["final"], since
        )
        since = caller.moments.index(moment) + 1
        length += len(moment.data["text"])
        yield moment.data["text"]


def longest_gap_ms(server: LiveServer, caller: Caller, reply_id: str) -> float:
    """The longest silence inside a reply, in the recording of the talk."""
    stored = Stored(server.folder, caller.call.session_id)
    message = next(m for m in stored.messages("assistant") if m["response_id"] == reply_id)
    sound, rate_hz = stored.sound("conversation.mp3")
    start, end = (round(message[edge] * rate_hz / 1000) for edge in ("start_ms", "end_ms"))
    step = rate_hz // 50
    loud = [np.abs(sound[at : at + step, 1]).max() > 0.02 for at in range(start, end - step, step)]
    assert sum(loud) * 20 > 3000
    inside = "".join("x" if one else " " for one in loud).strip()
    return max(len(gap) for gap in re.findall(" *", inside)) * 20
