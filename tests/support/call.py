"""A whole conversation in no time: a real session with scripted plug-ins, on the virtual clock.

`Call` is the client: it speaks frames, keeps what it is sent, and plays like a browser that reports nothing
unless it is told to. The detector hears any loud sample as speech.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipeline import chain
from pipeline.chain import LlmChain, SttChain, TtsChain
from pipeline.contracts import Env, TalkEngine, Tool, TranscriberEngine
from pipeline.core.endpoint import Timing
from pipeline.duplex import Patience
from pipeline.session import Session
from pipeline.setup import Engines, Restored, Rules, Setup
from pipeline.turn import words

VOICED = b"\x10\x27" * 320
SILENT = bytes(640)
LOUD = 100
"""Where resampled silence is not: it trembles by a sample."""
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class LoudIsSpeech:
    """A detector for tests, and its engine."""

    def is_speech(self, frame: bytes) -> bool:
        return bool(np.abs(np.frombuffer(frame, "<i2").astype(int)).max() > LOUD)

    def open(self) -> "LoudIsSpeech":
        return self

    async def warm(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class MemoryRecorder:
    """A recorder that keeps everything in lists."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str, Mapping[str, Any]]] = []
        self.user: list[tuple[int, bytes]] = []
        self.agent: list[tuple[str, int, int, bytes, int]] = []
        self.syncs = 0
        self.closed = self.suspended = False

    def record(self, kind: str, at_ms: int, data: Mapping[str, Any]) -> None:
        self.entries.append((at_ms, kind, dict(data)))

    def user_audio(self, position: int, pcm: bytes) -> None:
        self.user.append((position, pcm))

    def agent_audio(self, reply_id: str, rate_hz: int, offset: int, pcm: bytes, position: int) -> None:
        self.agent.append((reply_id, rate_hz, offset, pcm, position))

    def sync(self) -> None:
        self.syncs += 1

    async def flush(self) -> None:
        self.syncs += 1

    async def close(self) -> None:
        self.closed = True

    async def suspend(self) -> None:
        self.suspended = True

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages as the conversation file would have them: later entries amend earlier ones."""
        folded: dict[int, dict[str, Any]] = {}
        for data in self.of("message"):
            folded.setdefault(data["n"], {}).update(data)
        return [folded[n] for n in sorted(folded)]

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [data for _, k, data in self.entries if k == kind]


class Call:
    """One client of one session. Make it with `open_call`."""

    def __init__(self, session: Session, recorder: MemoryRecorder) -> None:
        self.session, self.recorder = session, recorder
        self.events: list[dict[str, Any]] = []
        self.audio: list[tuple[float, int]] = []
        """(when, samples) of every binary message."""
        self._zero = asyncio.get_running_loop().time()
        self._reader: asyncio.Task[None] | None = None
        self._kick: Callable[[], None] | None = None

    # -- the client's side --------------------------------------------------------------------------------

    def attach(self) -> dict[str, Any]:
        def kick() -> None:
            self._stop_reading()

        self._kick = kick
        told = self.session.attach(kick)
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return told

    def drop(self) -> None:
        """The network is gone."""
        self._stop_reading()
        assert self._kick is not None
        self.session.detach(self._kick)

    async def speak(self, ms: int) -> None:
        await self._send(VOICED, ms)

    async def quiet(self, ms: int) -> None:
        await self._send(SILENT, ms)

    def do(self, kind: str, **fields: Any) -> None:
        self.session.do({"type": kind, **fields})

    async def end(self) -> None:
        await self.session.end("ended by the client")
        if self._reader is not None:
            await self._reader

    # -- what came ----------------------------------------------------------------------------------------

    @property
    def ms(self) -> int:
        """Milliseconds since the call was made."""
        return round((asyncio.get_running_loop().time() - self._zero) * 1000)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["type"] == kind]

    def kinds(self, *without: str) -> list[str]:
        """The events' types in order, runs of one type as one."""
        return [k for k, _ in itertools.groupby(e["type"] for e in self.events if e["type"] not in without)]

    def last(self, kind: str) -> dict[str, Any]:
        return self.of(kind)[-1]

    @property
    def samples(self) -> int:
        return sum(n for _, n in self.audio)

    # -- inside -------------------------------------------------------------------------------------------

    async def _send(self, frame: bytes, ms: int) -> None:
        for _ in range(ms // 20):
            await asyncio.sleep(0.02)
            self.session.hear(frame)

    async def _read(self) -> None:
        outbox = self.session.outbox
        while await outbox.wait():
            while (item := outbox.take()) is not None:
                if isinstance(item, bytes):
                    self.audio.append((self.ms, len(item) // 2))
                else:
                    self.events.append({**item, "_ms": self.ms})

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()


async def _talk_chain(talk: Mapping[str, Any] | TalkEngine | None) -> chain.Chain[TalkEngine] | None:
    if talk is None:
        return None
    if isinstance(talk, Mapping):
        built: chain.Chain[TalkEngine] = await chain.build("talk", ["scripted"], {"scripted": talk}, Env())
        return built
    return chain.Chain("talk", [chain.Member("vendor", talk)])


async def open_call(
    *,
    stt: Mapping[str, Any] | None = None,
    llm: Mapping[str, Any] | None = None,
    tts: Mapping[str, Any] | None = None,
    talk: Mapping[str, Any] | TalkEngine | None = None,
    backups: Mapping[str, str] | None = None,
    tools: Mapping[str, Tool] | None = None,
    ears: TranscriberEngine | None = None,
    minds: Sequence[chain.Member[Any]] = (),
    mouths: Sequence[chain.Member[Any]] = (),
    tool_storage: Any = None,
    setup: Setup | None = None,
    rules: Rules | None = None,
    timing: Timing | None = None,
    first_timeout_s: float = 2.0,
    stall_s: float = 2.0,
    attach: bool = True,
    restored: Restored | None = None,
    session_id: str = "20261121_120000_aaaaaaaaaaaaaaaaaaaa",
) -> Call:
    """A session with scripted stages. `backups` names a second plug-in for a stage; `stt`, `llm` and `tts`
    are the first one's options. `ears` listens instead of the scripted recognizer, `minds` think instead
    of the scripted responder, `mouths` speak instead of the scripted voice. `talk` is one model for speech to
    speech, or the options of the scripted one; it makes no guesses."""
    given = {"stt": stt or {}, "llm": llm or {}, "tts": tts or {}}
    chains: dict[str, Any] = {}
    for stage, options in given.items():
        names = ["scripted"] + ([backups[stage]] if backups and stage in backups else [])
        chains[stage] = await chain.build(stage, names, {"scripted": options}, Env())
    if ears is not None:
        chains["stt"] = chain.Chain("stt", [chain.Member("ears", ears)])
    if minds:
        chains["llm"] = chain.Chain("llm", list(minds))
    if mouths:
        chains["tts"] = chain.Chain("tts", list(mouths))
    engines = Engines(
        LoudIsSpeech(),
        SttChain(chains["stt"], first_timeout_s),
        LlmChain(chains["llm"], first_timeout_s, stall_s),
        TtsChain(chains["tts"], first_timeout_s, stall_s),
        words.create(words.Options(), Env()),
        tools or {},
        2.0,
        talk=await _talk_chain(talk),
        talk_patience=Patience(first_timeout_s, stall_s),
        tool_storage=tool_storage,
    )
    if talk is not None:
        timing = replace(timing or Timing(), speculate=False)
    loop = asyncio.get_running_loop()
    zero = loop.time()
    recorder = MemoryRecorder()
    base = rules or Rules()
    session = Session(
        session_id,
        setup or Setup(greeting=""),
        engines,
        replace(base, timing=timing) if timing else base,
        recorder,
        lambda: START + timedelta(seconds=loop.time() - zero),
        restored,
    )
    call = Call(session, recorder)
    if attach:
        call.attach()
    return call
