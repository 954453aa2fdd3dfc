"""Whole calls on recorded speech in real time: a black box, heard and spoken to over its socket.

Times are told on the microphone's clock (how much sound had been sent when something came), so that a busy
machine shifts both sides alike; what tolerance is left is for its scheduling.
"""

import asyncio
import json
import statistics
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr

from pipeline.core.audio import read_wav
from tests.support.caller import Caller, Moment
from tests.support.live import LiveServer
from tests.support.speech import DATA, clip
from tests.support.stored import Sound, Stored, alike

pytestmark = pytest.mark.slow

GO_FORWARD = clip("goforward.wav")
GO_FORWARD_MS = (500, 2220)
"""Where in the clip the speech is; the same in the manifest that the clips come from."""
BUSY_MS = 150
"""What a shared machine may add to any delay."""
LONG_REPLY = " ".join(
    ["Let me tell you a long story about a ship that went to sea and did not come home for seven years."] * 3
)
TEXT_ONLY = {
    "PARLEY_PIPELINE__GREETING": "",
    "PARLEY_LLM__PLUGIN": '["scripted"]',
    "PARLEY_LLM__SCRIPTED__TEXT": '["Yes."]',
}
LONG_WINDED = {**TEXT_ONLY, "PARLEY_LLM__SCRIPTED__TEXT": json.dumps([LONG_REPLY])}

Server = Callable[..., LiveServer]


def samples(pcm: bytes) -> Sound:
    return np.frombuffer(pcm, "<i2").astype(np.float64) / 32768


def resampled(sound: Sound, from_hz: int, to_hz: int) -> Sound:
    return np.asarray(soxr.resample(sound, from_hz, to_hz), np.float64)


def stored(server: LiveServer, caller: Caller) -> Stored:
    return Stored(server.folder, caller.call.session_id)


def reply_sound(caller: Caller, response_id: str) -> Sound:
    return samples(bytes(caller.call.player.replies[response_id].pcm))


# -- a talk and what is kept of it ----------------------------------------------------------------------


async def one_question(server: LiveServer, pcm: bytes, **start: Any) -> tuple[Caller, int]:
    """Greeted, ask, hear the whole answer, hang up. Returns the call and where the question began."""
    async with Caller.dialing(server.ws, **start) as caller:
        await caller.hears("audio.end")
        await caller.is_idle()
        await caller.pause(300)
        start_ms = await caller.play(pcm)
        await caller.hears("transcription", lambda d: d["final"])
        await caller.hears("turn.metrics")
        await caller.is_idle()
        await caller.hears("turn.metrics", lambda d: d.get("played"))
        await caller.hang_up()
        return caller, start_ms


async def test_talks_at_once_are_each_transcribed_answered_and_kept(live_server: Server) -> None:
    server = live_server()
    phone, phone_hz = read_wav((DATA / "telephone_two_sentences_8k.wav").read_bytes())
    assert phone_hz == 8000
    phone = phone[: 8000 * 2 * 9 // 2]
    studio = (resampled(samples(GO_FORWARD), 16_000, 48_000) * 32767).astype("<i2").tobytes()
    (plain, plain_ms), (by_phone, _), (in_json, json_ms) = await asyncio.gather(
        one_question(server, GO_FORWARD),
        one_question(server, phone, input_rate=8000, output_rate=8000),
        one_question(server, studio, input_rate=48_000, output_rate=48_000, base64=True),
    )

    for caller, start_ms in ((plain, plain_ms), (in_json, json_ms)):
        check_order(caller)
        assert caller.finals()[0].data["text"] == "go forward ten meters"
        check_kept(server, caller, start_ms)
    assert {m.data["rate"] for m in by_phone.all("audio.begin")} == {8000}
    assert {m.data["rate"] for m in in_json.all("audio.begin")} == {48_000}
    # "a gold ring will please most any girl": half of it is lost on the recognizer, not on the way
    assert by_phone.finals()[0].data["text"].split()[-1] == "girl"
    check_rows(stored(server, by_phone))
    sessions = {c.call.session_id for c in (plain, by_phone, in_json)}
    assert len(sessions) == 3


def check_order(caller: Caller) -> None:
    """Partials, the final, the answer: everything in its place and only once."""
    turn = [m for m in caller.moments if m.data.get("turn") == 1 or m.type.startswith("speech")]
    kinds = [m.type for m in turn]
    texts = [m for m in turn if m.type == "transcription"]
    assert len(texts) >= 2
    assert [m.data["final"] for m in texts] == [False] * (len(texts) - 1) + [True]
    assert kinds.index("speech.started") < kinds.index("transcription")
    assert kinds.index("speech.stopped") < kinds.index("response.begin")
    assert len(caller.finals()) == 1
    began = next(m for m in turn if m.type == "response.begin")
    deltas = [m for m in turn if m.type == "agent_response"]
    assert [m.data["final"] for m in deltas] == [False] * (len(deltas) - 1) + [True]
    assert "".join(m.data["text"] for m in deltas[:-1]).split() == deltas[-1].data["text"].split()
    assert "go forward ten meters" in deltas[-1].data["text"]
    assert {m.data["response_id"] for m in deltas} == {began.data["response_id"]}
    sound = reply_sound(caller, began.data["response_id"])
    assert np.sqrt(np.mean(sound**2)) > 0.02
    ended = next(m for m in caller.all("audio.end") if m.data["response_id"] == began.data["response_id"])
    rate_hz = caller.rates[1]
    assert ended.data["duration_ms"] == pytest.approx(len(sound) * 1000 / rate_hz, abs=2)
    metrics = caller.all("turn.metrics")[0].data
    parts = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")
    assert sum(metrics[p] for p in parts) == pytest.approx(metrics["voice_to_voice_ms"], abs=1)
    assert caller.moments[-1].type == "ended"
    assert caller.moments[-2].type == "summary"
    assert not caller.all("error")


def check_kept(server: LiveServer, caller: Caller, start_ms: int) -> None:
    """JSON, MP3s and rows tell the same, and it is what was said and heard."""
    kept = stored(server, caller)
    greeting, question, answer = kept.conversation["messages"]
    assert greeting["content"] == caller.replies()[0]
    assert (question["role"], question["content"]) == ("user", "go forward ten meters")
    assert (answer["role"], answer["content"]) == ("assistant", caller.replies()[1])
    assert not answer.get("interrupted")
    late_ms = caller.lateness_s * 1000 + BUSY_MS
    said_ms = [start_ms + ms for ms in GO_FORWARD_MS]
    assert question["start_ms"] == pytest.approx(said_ms[0], abs=150 + late_ms)
    assert question["end_ms"] == pytest.approx(said_ms[1], abs=150 + late_ms)

    spoken = samples(GO_FORWARD)[GO_FORWARD_MS[0] * 16 : GO_FORWARD_MS[1] * 16]
    whole, rate_hz = kept.sound("conversation.mp3")
    assert whole.shape[1] == 2
    likeness, at = alike(resampled(spoken, 16_000, rate_hz), whole[:, 0])
    assert likeness > 0.9
    assert at * 1000 / rate_hz == pytest.approx(said_ms[0], abs=late_ms)
    own, own_hz = kept.sound(question["audio"])
    likeness, at = alike(resampled(spoken, 16_000, own_hz)[own_hz // 5 : -own_hz // 5], own[:, 0])
    assert likeness > 0.9
    check_replies(kept, caller, whole, rate_hz)
    check_rows(kept)
    with urllib.request.urlopen(f"{server.url}/api/conversation/{kept.session_id}", timeout=10) as answered:
        assert json.load(answered) == kept.conversation
    assert not list((server.folder / "audio_files" / kept.session_id).glob("*.pcm"))


def check_replies(kept: Stored, caller: Caller, whole: Sound, whole_hz: int) -> None:
    """Every reply is in its own MP3 and, at its place, on the right of the whole talk."""
    reply_hz = caller.rates[1]
    for message, reply in zip(kept.messages("assistant"), caller.call.player.replies.values(), strict=True):
        sound = samples(bytes(reply.pcm))
        own, own_hz = kept.sound(message["audio"])
        assert len(own) / own_hz == pytest.approx(len(sound) / reply_hz, abs=0.1)
        assert alike(resampled(sound, reply_hz, own_hz), own[:, 0])[0] > 0.9
        likeness, at = alike(resampled(sound, reply_hz, whole_hz), whole[:, 1])
        assert likeness > 0.9
        assert reply.first_at_s is not None
        begun_ms = caller.mic_ms_at(reply.first_at_s)
        assert at * 1000 / whole_hz == pytest.approx(begun_ms, abs=caller.lateness_s * 1000 + 2 * BUSY_MS)


def check_rows(kept: Stored) -> None:
    """The rows say what the JSON says."""
    conversation = kept.conversation
    (row,) = kept.rows("conversations")
    assert row["turns"] == len(conversation["turns"])
    assert row["duration_s"] == pytest.approx(conversation["duration_seconds"])
    assert row["end_time"] == conversation["end_time"]
    rows = kept.rows("messages")
    for row, message in zip(rows, conversation["messages"], strict=True):
        for key in ("role", "content", "turn", "audio", "start_ms", "end_ms", "heard"):
            assert row[key] == message.get(key), key
        assert bool(row["interrupted"]) is bool(message.get("interrupted"))
    for row, turn in zip(kept.rows("turns"), conversation["turns"], strict=True):
        for key in ("turn", "endpoint_ms", "stt_ms", "voice_to_voice_ms", "reason"):
            assert row[key] == turn[key]


# -- speaking over the agent ----------------------------------------------------------------------------


async def barge_in(caller: Caller, pcm: bytes, onset_ms: int) -> tuple[Moment, Moment, int]:
    """Speak over the reply that plays. Returns duck, interruption and when the speech began."""
    since = len(caller.moments)
    begun = asyncio.create_task(caller.play(pcm))
    duck = await caller.hears("duck", since=since)
    stop = await caller.hears("interrupted", since=since)
    return duck, stop, await begun + onset_ms


async def test_speech_stops_the_agent_and_only_what_was_heard_is_remembered(live_server: Server) -> None:
    server = live_server(**LONG_WINDED)
    speech = [
        (GO_FORWARD[: 2400 * 32], GO_FORWARD_MS[0]),
        (clip("two_turns_251.wav")[: 2900 * 32], 230),
        (clip("austen_0890.wav")[: 2600 * 32], 280),
    ]
    ducked, stopped = [], []
    async with Caller.dialing(server.ws) as caller:
        await caller.call.say("Tell me a story.")
        for pcm, onset_ms in speech:
            await caller.hears("sound", since=len(caller.moments))
            await caller.pause(1500)
            duck, stop, spoke_ms = await barge_in(caller, pcm, onset_ms)
            ducked.append(duck.mic_ms - spoke_ms)
            stopped.append(stop.mic_ms - spoke_ms)
            check_heard(caller, duck, stop)
        await caller.pause(1500)
        await caller.hang_up()

    # The contract: silent within 150 ms of the onset being audible, interrupted within 700.
    assert statistics.median(ducked) <= 150 + BUSY_MS, ducked
    assert max(ducked) <= 300 + BUSY_MS, ducked
    assert max(stopped) <= 700 + BUSY_MS, stopped
    kept = stored(server, caller)
    interrupted = [m.data for m in caller.all("interrupted")]
    replies = kept.messages("assistant")
    assert [m["heard"] for m in replies] == [i["heard_text"] for i in interrupted]
    assert all(m["interrupted"] for m in replies)
    check_rows(kept)
    for message, stop in zip(replies, interrupted, strict=True):
        own, own_hz = kept.sound(message["audio"])
        assert len(own) * 1000 / own_hz == pytest.approx(stop["heard_ms"], abs=50)


def check_heard(caller: Caller, duck: Moment, stop: Moment) -> None:
    """What the server says was heard is what the loudspeaker played, and it fell silent at the duck."""
    response_id = stop.data["response_id"]
    assert duck.data["response_id"] == response_id
    reply = caller.call.player.replies[response_id]
    assert stop.data["heard_ms"] == pytest.approx(reply.played_ms, abs=25)
    assert not stop.data.get("estimated")
    assert LONG_REPLY.startswith(stop.data["heard_text"])
    assert 0 < len(stop.data["heard_text"]) < len(LONG_REPLY)
    assert reply.first_at_s is not None
    played_until_s = reply.first_at_s + reply.played_ms / 1000
    assert played_until_s <= duck.at_s + BUSY_MS / 1000
    assert "speech" in stop.data["reason"] or "words" in stop.data["reason"]


# -- sounds that are not speech -------------------------------------------------------------------------


def cough(seed: int) -> bytes:
    """A quarter of a second of loud shaped noise, with silence round it: what a cough is to a detector."""
    rng = np.random.default_rng(seed)
    length = 16 * (200 + 50 * (seed % 3))
    noise = np.fft.rfft(rng.standard_normal(length))
    hz = np.fft.rfftfreq(length, 1 / 16_000)
    noise *= 1 / (1 + ((hz - 900) / 700) ** 2)  # most of a cough's energy lies about 1 kHz
    burst = np.fft.irfft(noise, length) * np.exp(-np.arange(length) / (length / 4))
    burst *= 0.6 / np.max(np.abs(burst))
    quiet = bytes(700 * 32)
    return quiet + (burst * 32767).astype("<i2").tobytes() + quiet


NOISES = {
    "dishes": clip("nonspeech_dishes.wav")[: 11_000 * 32],
    "music": clip("nonspeech_music.wav")[: 11_000 * 32],
    "clicks, a dog and coughs": clip("nonspeech_roomtone_clicks.wav")
    + clip("nonspeech_dog.wav")[: 1500 * 32]
    + b"".join(cough(seed) for seed in range(3)),
}
BREATHS = clip("breaths_between_words.wav")[: 4150 * 32]
"""Two loud breaths before the first word."""


async def noisy_call(server: LiveServer, noise: bytes) -> Caller:
    """The same noise first into silence, then over a long reply."""
    async with Caller.dialing(server.ws) as caller:
        await caller.play(noise)
        await caller.pause(1000)
        assert not caller.finals()
        assert not caller.all("response.begin")
        await caller.call.say("Tell me a story.")
        await caller.hears("sound")
        await caller.play(noise)
        await caller.is_idle(patience_s=60)
        await caller.hears("turn.metrics", lambda d: d.get("played"))
        await caller.hang_up()
        return caller


async def test_noise_neither_makes_a_turn_nor_stops_the_agent(live_server: Server) -> None:
    server = live_server(**LONG_WINDED)
    noises = {**NOISES, "clicks, a dog and coughs": NOISES["clicks, a dog and coughs"] + BREATHS}
    callers = await asyncio.gather(*(noisy_call(server, noise) for noise in noises.values()))
    for name, caller in zip(noises, callers, strict=True):
        assert not caller.finals(), name
        assert not caller.all("interrupted"), name
        assert len(caller.all("duck")) == len(caller.all("unduck")) <= 2, name
        assert caller.replies() == [LONG_REPLY], name
        (reply,) = caller.call.player.replies.values()
        assert reply.is_over, name
        kept = stored(server, caller)
        assert [m["content"] for m in kept.messages("user")] == ["Tell me a story."], name
        (answer,) = kept.messages("assistant")
        assert not answer.get("interrupted"), name
        own, own_hz = kept.sound(answer["audio"])
        assert len(own) / own_hz == pytest.approx(len(reply.pcm) / 2 / reply.rate_hz, abs=0.1), name


# -- where turns end ------------------------------------------------------------------------------------


async def open_microphone(server: LiveServer, pcm: bytes) -> tuple[Caller, int]:
    async with Caller.dialing(server.ws, response="text") as caller:
        await caller.pause(500)
        start_ms = await caller.play(pcm)
        await caller.pause(2500)
        await caller.hang_up()
        return caller, start_ms


async def held_button(server: LiveServer) -> Caller:
    """Something said unheard, then three groups of digits with long pauses while the button is down."""
    async with Caller.dialing(server.ws, mode="hold-to-talk", response="text") as caller:
        await caller.play(GO_FORWARD)
        assert [m.type for m in caller.moments] == []
        await caller.call.send("talk.begin")
        await caller.play(clip("numbers_three_turns.wav"))
        assert not caller.finals()
        await caller.call.send("talk.end")
        await caller.hears("turn.metrics")
        await caller.pause(1000)
        await caller.hang_up()
        return caller


async def test_turns_end_in_the_long_pauses_and_where_the_button_is_let_go(live_server: Server) -> None:
    server = live_server(**TEXT_ONLY)
    numbers, numbers_ms = await open_microphone(server, clip("numbers_three_turns.wav"))
    dialogue, dialogue_ms = await open_microphone(server, clip("two_turns_251.wav"))
    button = await held_button(server)
    check_ends(numbers, numbers_ms, [2560, 4920, 7920])
    check_ends(dialogue, dialogue_ms, [2640, 7810])
    (final,) = button.finals()
    assert len(final.data["text"].split()) >= 12
    assert "forward" not in final.data["text"]
    metrics = button.all("turn.metrics")[0].data
    assert metrics["reason"] == "the talk button was released"
    kept = stored(server, button)
    (message,) = kept.messages("user")
    own, own_hz = kept.sound(message["audio"])
    assert len(own) / own_hz == pytest.approx(len(clip("numbers_three_turns.wav")) / 32_000, abs=0.5)
    whole, whole_hz = kept.sound("conversation.mp3")
    unheard = resampled(samples(GO_FORWARD)[16 * 500 : 16 * 2220], 16_000, whole_hz)
    assert alike(unheard, whole[:, 0])[0] < 0.5


def check_ends(caller: Caller, start_ms: int, ends_ms: list[int]) -> None:
    """The turns ended after these sounds, half a second to a second and a half later, and nowhere else."""
    stops = [m.data["at_ms"] - start_ms for m in caller.all("speech.stopped")]
    assert stops == [pytest.approx(end, abs=150) for end in ends_ms]
    assert len(caller.finals()) == len(ends_ms)
    assert all(m.data["text"] for m in caller.finals())
    metrics = [m.data for m in caller.all("turn.metrics")]
    assert all("of silence" in m["reason"] for m in metrics)
    assert all(280 <= m["endpoint_ms"] <= 1500 + BUSY_MS for m in metrics)
