"""Chains by themselves, on the virtual clock: whose turn it is, how long each may take, who is well again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from pipeline.chain import Chain, LlmChain, Member, SttChain, TtsChain
from pipeline.chain.llm import GO_ON, LOST_THREAD
from pipeline.contracts import (
    Failure,
    LlmError,
    Message,
    Prompt,
    ProviderError,
    SpeechRequest,
    SpokenWord,
    ToolCall,
    Usage,
    VoiceInfo,
)
from pipeline.request import Outcome, Request
from pipeline.stt import scripted as ear

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

HANG = "hang"
Piece = str | ToolCall | Usage | LlmError
QUESTION = Prompt((Message("user", "what is it?"),))


class Model:
    """A responder that yields what it is told, raises the errors among it, and remembers its prompts."""

    def __init__(self, *pieces: Piece, goes_on: bool = False, model: str = "") -> None:
        self.pieces, self.goes_on, self.model = pieces, goes_on, model
        self.prompts: list[Prompt] = []

    async def warm(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        self.prompts.append(prompt)
        for piece in self.pieces:
            if piece == HANG:
                await asyncio.Event().wait()
            if isinstance(piece, LlmError):
                raise piece
            yield piece


class Probed(Model):
    """One that can be probed. Probes fail as long as there are `sick` errors left."""

    def __init__(self, *pieces: Piece, sick: Sequence[ProviderError | str] = ()) -> None:
        super().__init__(*pieces)
        self.sick = list(sick)
        self.probed_at: list[float] = []

    async def probe(self) -> None:
        self.probed_at.append(asyncio.get_running_loop().time())
        if self.sick:
            error = self.sick.pop(0)
            if isinstance(error, str):
                await asyncio.Event().wait()
            else:
                raise error


class Voice:
    """A synthesizer of 1000 samples a letter that may hang after so many letters."""

    rate_hz = 24_000

    def __init__(self, hang_after: int | None = None) -> None:
        self.hang_after = hang_after
        self.texts: list[str] = []

    async def warm(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def voices(self) -> Sequence[VoiceInfo]:
        return ()

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        self.texts.append(request.text)
        for i, _ in enumerate(request.text):
            if i == self.hang_after:
                await asyncio.Event().wait()
            yield bytes(2000)


def chain_of(stage: str, **engines: Any) -> Chain[Any]:
    return Chain(stage, [Member(name, engine) for name, engine in engines.items()])


async def said(
    chain: LlmChain, bill: list[Request] | None = None, *, thrifty: bool = False
) -> tuple[str, list[str]]:
    """The whole answer, and who gave it."""
    text, who = "", []
    async for name, piece in chain.tokens(QUESTION, bill=bill, thrifty=thrifty):
        text += piece if isinstance(piece, str) else ""
        who.append(name)
    return text, list(dict.fromkeys(who))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_each_member_with_somebody_behind_it_gets_half_of_the_time_that_is_left() -> None:
    chain = chain_of("llm", a=Model(HANG), b=Model(HANG), c=Model("Yes."))
    bill: list[Request] = []
    began = now()
    assert await said(LlmChain(chain, 8.0, 5.0), bill) == ("Yes.", ["c"])
    assert now() - began == pytest.approx(6.0)
    assert [(r.plugin, r.outcome, r.error) for r in bill] == [
        ("a", Outcome.FAILED, Failure.TIMEOUT),
        ("b", Outcome.FAILED, Failure.TIMEOUT),
        ("c", Outcome.OK, ""),
    ]
    assert [r.asked_at - began for r in bill] == pytest.approx([0.0, 4.0, 6.0])
    await chain.aclose()


async def test_all_of_them_hanging_takes_no_longer_than_the_stages_time() -> None:
    chain = chain_of("llm", a=Model(HANG), b=Model(HANG))
    began = now()
    with pytest.raises(LlmError, match="b did not send the first piece within 4 s"):
        await said(LlmChain(chain, 8.0, 5.0))
    assert now() - began == pytest.approx(8.0)
    await chain.aclose()


async def test_one_alone_gets_all_of_the_time() -> None:
    chain = chain_of("llm", a=Model(HANG))
    began = now()
    with pytest.raises(LlmError):
        await said(LlmChain(chain, 8.0, 5.0))
    assert now() - began == pytest.approx(8.0)
    await chain.aclose()


async def test_a_broken_answer_is_gone_on_with_by_who_can() -> None:
    broken = Model("The capital of ", "France is", LlmError("gone"))
    simple, able = Model("Hello!"), Model("Paris.", goes_on=True)
    chain = chain_of("llm", broken=broken, simple=simple, able=able)
    assert await said(LlmChain(chain, 8.0, 5.0)) == ("The capital of France is Paris.", ["broken", "able"])
    assert simple.prompts == []
    asked = able.prompts[0].messages
    assert asked[:-2] == QUESTION.messages
    assert [(m.role, m.content) for m in asked[-2:]] == [
        ("assistant", "The capital of France is"),
        ("user", GO_ON),
    ]
    await chain.aclose()


async def test_a_broken_answer_that_nobody_can_go_on_with_ends_honestly() -> None:
    chain = chain_of("llm", broken=Model("Well, ", LlmError("gone")), simple=Model("Hello!"))
    assert (await said(LlmChain(chain, 8.0, 5.0)))[0] == "Well, " + LOST_THREAD
    await chain.aclose()


async def test_an_answer_that_broke_after_a_tool_call_is_not_asked_for_again() -> None:
    other = Model("Hello!", goes_on=True)
    chain = chain_of("llm", broken=Model(ToolCall("1", "book", {}), LlmError("gone")), other=other)
    assert await said(LlmChain(chain, 8.0, 5.0)) == ("", ["broken"])
    assert other.prompts == []
    await chain.aclose()


async def test_the_providers_count_replaces_the_estimate() -> None:
    bill: list[Request] = []
    counted = Model("One ", "two.", Usage(input_tokens=31, output_tokens=7), model="big-1")
    chain = chain_of("llm", counted=counted)
    await said(LlmChain(chain, 8.0, 5.0), bill)
    assert [(r.model, r.input_tokens, r.output_tokens, r.counted) for r in bill] == [("big-1", 31, 7, True)]
    bill.clear()
    counted.pieces = counted.pieces[:2]
    await said(LlmChain(chain, 8.0, 5.0), bill)
    guessed = len(QUESTION.messages[0].content) // 4
    assert [(r.input_tokens, r.output_tokens, r.counted) for r in bill] == [(guessed, 2, False)]
    await chain.aclose()


async def test_a_request_that_nobody_wants_any_more_is_cancelled_on_the_bill() -> None:
    bill: list[Request] = []
    chain = chain_of("llm", a=Model("One ", HANG))
    stream = LlmChain(chain, 8.0, 5.0).tokens(QUESTION, bill=bill)
    assert await anext(stream) == ("a", "One ")
    await stream.aclose()
    assert [r.outcome for r in bill] == [Outcome.CANCELLED]
    assert chain.members[0].failures == 0
    await chain.aclose()


async def test_who_failed_is_probed_after_its_rest_and_asked_again_only_when_well() -> None:
    sick = Probed(LlmError("down"), sick=[LlmError("still down"), "hangs"])
    chain = chain_of("llm", sick=sick, other=Model("Yes."))
    whole = LlmChain(chain, 8.0, 5.0)
    began = now()
    assert await said(whole) == ("Yes.", ["other"])
    await asyncio.sleep(6)  # its first probe, after 5 s of rest, failed: it rests for 10 s more
    assert await said(whole) == ("Yes.", ["other"])
    assert len(sick.prompts) == 1
    assert [m["state"] for m in chain.state()["members"]] == ["resting", "ok"]
    sick.pieces = ("Back.",)
    await asyncio.sleep(40)  # the second probe hangs for 5 s, the third goes well after 20 s of rest
    assert [at - began for at in sick.probed_at] == pytest.approx([5.0, 15.0, 40.0])
    assert await said(whole) == ("Back.", ["sick"])
    assert chain.state()["members"][0] == {"plugin": "sick", "state": "ok", "answered": 1, "failed": 3}
    await chain.aclose()


async def test_a_provider_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    busy = Probed(LlmError("429", Failure.QUOTA, retry_after_s=60))
    chain = chain_of("llm", busy=busy, other=Model("Yes."))
    began = now()
    await said(LlmChain(chain, 8.0, 5.0))
    state = chain.state()
    assert state["plugin"] == "other"
    assert (state["members"][0]["kind"], state["members"][0]["next_try_s"]) == ("quota", 60.0)
    await asyncio.sleep(70)
    assert [at - began for at in busy.probed_at] == pytest.approx([60.0])
    await chain.aclose()


async def test_a_probe_that_is_under_way_is_ended_with_the_chain() -> None:
    chain = chain_of("llm", sick=Probed(LlmError("down"), sick=["hangs"]), other=Model("Yes."))
    await said(LlmChain(chain, 8.0, 5.0))
    await asyncio.sleep(7)
    await chain.aclose()  # the fixture looks for the task


async def test_when_all_are_resting_all_are_asked_anyway() -> None:
    sick = Probed(LlmError("down"))
    chain = chain_of("llm", sick=sick)
    with pytest.raises(LlmError):
        await said(LlmChain(chain, 8.0, 5.0))
    sick.pieces = ("Back.",)
    assert await said(LlmChain(chain, 8.0, 5.0)) == ("Back.", ["sick"])
    await chain.aclose()


async def test_the_thrifty_ask_who_costs_nothing_first() -> None:
    chain = chain_of("llm", dear=Model("Dear."), cheap=Model("Cheap."))
    chain.members[0].free = False
    whole = LlmChain(chain, 8.0, 5.0)
    assert await said(whole) == ("Dear.", ["dear"])
    assert await said(whole, thrifty=True) == ("Cheap.", ["cheap"])
    await chain.aclose()


async def test_a_voice_that_stalls_is_followed_by_the_next_one_from_where_it_stopped() -> None:
    stalling, other = Voice(hang_after=24), Voice()
    chain = chain_of("tts", stalling=stalling, other=other)
    bill: list[Request] = []
    text = "Every good boy does fine, as they say."
    pieces = [
        (name, len(piece) // 2)
        async for name, piece in TtsChain(chain, 4.0, 1.0).speak(SpeechRequest(text), 24_000, bill=bill)
        if isinstance(piece, bytes) and piece
    ]
    # 24,000 samples = 1 s = 15 characters of ordinary speech: the words "Every good boy" are taken as said.
    assert other.texts == [text[len("Every good boy") :]]
    assert sum(n for name, n in pieces if name == "stalling") == 24_000
    assert [(r.characters, r.outcome) for r in bill] == [(len(text), "failed"), (len(other.texts[0]), "ok")]
    await chain.aclose()


async def test_a_recognizer_with_somebody_behind_it_gets_half_of_the_time_the_last_one_all_of_it() -> None:
    hanging = ear.create(ear.Options(fail="hang"), None)  # type: ignore[arg-type]
    chain = chain_of("stt", a=hanging, b=ear.create(ear.Options(fail="hang"), None))  # type: ignore[arg-type]
    utterance = SttChain(chain, 3.0).open()
    utterance.feed(b"\x10\x27" * 16_000)
    utterance.finish(0)
    began = now()
    with pytest.raises(ProviderError, match="within 3 s"):
        [t async for t in utterance.transcripts()]
    assert now() - began == pytest.approx(4.5)
    await utterance.aclose()
    bill = utterance.close_bill()
    assert [(r.plugin, r.audio_ms, r.outcome) for r in bill] == [("a", 1000, "failed"), ("b", 1000, "failed")]
    await chain.aclose()
