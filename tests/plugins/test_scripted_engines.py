"""The scripted recognizer and synthesizer, to the millisecond, and how they fail when told to."""

import asyncio
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, SpeechRequest, SpokenWord, SttError, Transcript, TtsError, Usage

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.virtual_clock]

TEXT = "what can you do for me today"


def stt(**values: Any) -> Any:
    return plugins.build("stt", "scripted", values, Env())


def tts(**values: Any) -> Any:
    return plugins.build("tts", "scripted", values, Env())


def now_ms() -> float:
    return round(asyncio.get_running_loop().time() * 1000, 6)


class Heard:
    """Reads an utterance, noting when each transcript came."""

    def __init__(self, utterance: Any) -> None:
        self.got: list[tuple[float, str, bool, bool]] = []
        self.start_ms = now_ms()
        self.task = asyncio.create_task(self._read(utterance))

    async def _read(self, utterance: Any) -> None:
        async for t in utterance.transcripts():
            self.got.append((round(now_ms() - self.start_ms, 3), t.text, t.settled, t.final))


async def test_words_come_with_the_audio_and_the_final_after_the_end_of_speech() -> None:
    utterance = stt().open()
    heard = Heard(utterance)
    for _ in range(50):  # one second
        utterance.feed(bytes(640))
        await asyncio.sleep(0.02)
    utterance.finish(40)
    await heard.task
    assert heard.got == [
        (280.0, "what", False, False),
        (580.0, "what can", False, False),
        (880.0, "what can you", False, False),
        (1060.0, TEXT, True, True),  # 1000 - 40 + 100
    ]


async def test_partials_never_give_the_whole_text_away() -> None:
    utterance = stt().open()
    utterance.feed(bytes(60 * 32_000))
    reader = utterance.transcripts()
    assert (await anext(reader)).text == TEXT.rpartition(" ")[0]
    await utterance.aclose()


async def test_settled_after_the_delay_and_final_at_once() -> None:
    utterance = stt(final_ms=250).open()
    heard = Heard(utterance)
    utterance.feed(bytes(3200))
    utterance.settle(200)
    await asyncio.sleep(0.1)
    utterance.feed(bytes(100 * 32))
    utterance.finish(300)
    await heard.task
    assert heard.got == [(50.0, TEXT, True, False), (100.0, TEXT, True, True)]


async def test_speech_after_settling_needs_a_new_answer() -> None:
    utterance = stt(final_ms=250).open()
    heard = Heard(utterance)
    utterance.feed(bytes(3200))
    utterance.settle(200)
    await asyncio.sleep(0.02)
    utterance.feed(bytes(400 * 32))
    utterance.finish(200)
    await heard.task
    assert heard.got[-1] == (70.0, TEXT, True, True)
    assert [settled for _, _, settled, _ in heard.got].count(True) == 1


async def test_texts_are_taken_in_turn() -> None:
    engine = stt(text=["one", "two"], final_ms=0)
    texts = []
    for _ in range(3):
        utterance = engine.open()
        utterance.finish(0)
        texts += [t.text async for t in utterance.transcripts()]
    assert texts == ["one", "two", "one"]


async def test_a_recognizer_fails_after_as_many_as_it_was_told() -> None:
    engine = stt(fail="error", fail_after=1)
    for expected in (None, SttError):
        utterance = engine.open()
        utterance.finish(0)
        error = None
        try:
            assert [t.text async for t in utterance.transcripts()] == [TEXT]
        except SttError as raised:
            error = type(raised)
        assert error is expected


async def test_a_recognizer_that_hangs_never_answers() -> None:
    utterance = stt(fail="hang").open()
    heard = Heard(utterance)
    utterance.feed(bytes(64_000))
    utterance.settle(100)
    utterance.finish(100)
    await asyncio.sleep(3600)
    assert heard.got == []
    await utterance.aclose()
    await heard.task


async def test_a_recognizer_may_succeed_with_nothing() -> None:
    utterance = stt(fail="empty").open()
    utterance.finish(0)
    assert [t async for t in utterance.transcripts()] == [
        Transcript("", final=True, settled=True, plugin="scripted")
    ]


async def test_a_late_recognizer_answers_after_it_was_closed() -> None:
    utterance = stt(fail="late").open()
    heard = Heard(utterance)
    utterance.feed(bytes(3200))
    utterance.finish(0)
    await asyncio.sleep(1)
    await utterance.aclose()
    await heard.task
    assert heard.got == [(1100.0, TEXT, True, True)]


async def speech(engine: Any, text: str) -> list[tuple[float, Any]]:
    start_ms = now_ms()
    return [(round(now_ms() - start_ms, 3), i) async for i in engine.speak(SpeechRequest(text))]


async def test_audio_is_delivered_on_the_millisecond() -> None:
    items = await speech(tts(), "Hello there")  # 11 characters: 440 ms
    audio = [(at, len(i) // 48) for at, i in items if isinstance(i, bytes)]
    assert audio == [(100.0, 100), (125.0, 100), (150.0, 100), (175.0, 100), (200.0, 40)]
    words = [i for _, i in items if isinstance(i, SpokenWord)]
    assert words == [SpokenWord(0, 5, 0, 200), SpokenWord(6, 11, 240, 440)]
    assert items[-1] == (200.0, Usage(characters=11))


async def test_a_slow_listener_gets_the_rest_when_it_asks() -> None:
    stream = tts().speak(SpeechRequest("Hello there"))
    start_ms = now_ms()
    async for item in stream:
        if isinstance(item, bytes):
            break
    await asyncio.sleep(1)
    assert isinstance(await anext(stream), bytes)
    assert round(now_ms() - start_ms, 3) == 1100.0
    await stream.aclose()


async def test_a_synthesizer_fails_after_as_many_as_it_was_told() -> None:
    engine = tts(fail="error", fail_after=1)
    assert await speech(engine, "Hi")
    with pytest.raises(TtsError, match="told to fail"):
        await speech(engine, "Hi")


async def test_a_synthesizer_may_succeed_with_nothing() -> None:
    assert await speech(tts(fail="empty"), "Hi") == []


async def test_a_synthesizer_that_hangs_can_be_cancelled() -> None:
    task = asyncio.create_task(speech(tts(fail="hang"), "Hi"))
    await asyncio.sleep(3600)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_late_synthesizer_still_hands_over_sound_when_cancelled() -> None:
    got: list[bytes] = []

    async def listen() -> None:
        async for item in tts(fail="late").speak(SpeechRequest("Hello there")):
            if isinstance(item, bytes):
                got.append(item)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.11)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert len(got) == 2
