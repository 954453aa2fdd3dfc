"""OpenAI's transcription over its realtime socket (GA, session type "transcription").

One socket serves many utterances, one after the other. We say where a stretch of speech ends (`commit`; the
server's own turn detection is off): at a pause, and at the end. An utterance is its committed stretches, in
order. The live models send text while one speaks, the others from the commit on.

Wire: https://platform.openai.com/docs/guides/realtime-transcription and
https://platform.openai.com/docs/api-reference/realtime-client-events
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr

from pipeline import lines, vendor
from pipeline.contracts import Failure, SttError, Transcript
from pipeline.lines import Line, LineLost, Lines, Message, SocketLine
from pipeline.openai_http import Place
from pipeline.stt.live import LiveUtterance, Step, wrong_message
from pipeline.stt.messages import BYTES_PER_MS
from pipeline.stt.openai_request import LANGUAGES, Asked

RATE_HZ = 24_000
"""The only one for audio/pcm."""
HOLD_BYTES = 60 * BYTES_PER_MS
"""Sound is sent in pieces of at least this: a message for each frame would be mostly envelope."""
SLACK_BYTES = 60 * BYTES_PER_MS
""""Nothing but silence" may be off by a few frames."""
LEAST_BYTES = 100 * BYTES_PER_MS
"""Less than this cannot be committed (error input_audio_buffer_commit_empty)."""
IDLE_S = 240.0
"""A silent session costs nothing and may last an hour."""
OPEN_S = 5.0

COMMIT = json.dumps({"type": "input_audio_buffer.commit"})
CLEAR = json.dumps({"type": "input_audio_buffer.clear"})
ITEM = "conversation.item.input_audio_transcription."


class OpenAiRealtime:
    """The `TranscriberEngine`."""

    languages = LANGUAGES

    def __init__(self, place: Place, model: str, language: str, prompt: str) -> None:
        self.model = model
        self._place, self._language, self._prompt = place, language, prompt
        self._url = f"ws{place.base_url.removeprefix('http')}/realtime?intent=transcription"
        self._lines = Lines(self._dial, idle_s=IDLE_S)

    async def warm(self) -> None:
        """Nothing to load: the wire needs no package."""

    async def aclose(self) -> None:
        await self._lines.aclose()

    def prepare(self) -> None:
        self._lines.prepare(self._url)

    async def probe(self) -> None:
        """Open a session: free while nothing is said, and it needs the key and knows the model."""
        line = await self._dial(self._url)
        try:
            async with asyncio.timeout(OPEN_S):
                while (told := _read(self._place.who, await line.receive())).get("type") != "session.updated":
                    if told.get("type") == "error":
                        raise failure(self._place, told.get("error"))
        except (LineLost, TimeoutError) as error:
            self._lines.drop(line)
            raise vendor.unreachable(SttError, self._place.who, error) from error
        except BaseException:
            self._lines.drop(line)
            raise
        self._lines.give_back(self._url, line)

    def open(self, language: str = "", hints: Sequence[str] = ()) -> LiveUtterance:
        session = self._session(language, hints)

        def wire(line: Line) -> RealtimeWire:
            assert isinstance(line, RealtimeLine)
            return RealtimeWire(line, session, self._place)

        return LiveUtterance(self._place.who, self._lines, self._url, wire)

    def _session(self, language: str, hints: Sequence[str]) -> str:
        """The `session.update` that is right for an utterance."""
        asked = Asked.of(self.model, language or self._language, self._prompt, hints)
        heard = {
            "format": {"type": "audio/pcm", "rate": RATE_HZ},
            "transcription": asked.fields(),
            "turn_detection": None,
        }
        session = {"type": "transcription", "audio": {"input": heard}}
        return json.dumps({"type": "session.update", "session": session})

    async def _dial(self, url: str) -> Line:
        """A session that is ready for an utterance of the usual language. A wrong key is refused only
        after the handshake, in the first message."""
        who = self._place.who
        headers = {"Authorization": f"Bearer {self._place.key}"} if self._place.key else {}
        try:
            socket = await lines.dial(SttError, who, url, headers)
        except SttError as error:
            raise self._place.advise(error) from error
        try:
            told = _read(who, await lines.greeting(SttError, who, socket))
            if told.get("type") == "error":
                raise failure(self._place, told.get("error"))
            line = RealtimeLine(socket, self._session("", ()))
            await line.send(line.session)
        except LineLost as error:
            raise vendor.unreachable(SttError, who, error) from error
        except SttError:
            self._lines.drop(socket)
            raise
        return line


class RealtimeLine:
    """A line that knows what was agreed on it. Satisfies `Line`."""

    def __init__(self, line: SocketLine, session: str) -> None:
        self._line = line
        self.session = session
        """The newest `session.update`."""
        self.clears = 0
        """How many `clear`s have not been answered: what comes before the answers is of an old utterance."""

    @property
    def is_open(self) -> bool:
        return self._line.is_open

    async def send(self, message: Message) -> None:
        await self._line.send(message)

    async def receive(self) -> Message:
        return await self._line.receive()

    async def close(self) -> None:
        await self._line.close()


class RealtimeWire:
    """One utterance in the realtime socket's messages. Satisfies `live.Wire`."""

    def __init__(self, line: RealtimeLine, session: str, place: Place) -> None:
        self._line, self._session, self._place = line, session, place
        self._old = line.clears
        """How many answers to `clear` come before anything about this utterance."""
        # LQ delays 6 ms, HQ 30.
        self._resampler = soxr.ResampleStream(16_000, RATE_HZ, 1, "int16", "LQ")
        self._held = bytearray()
        self._since = 0
        """Bytes fed since the last commit, and how many of them were sent."""
        self._sent = 0
        self._commits = 0
        self._order: list[str] = []
        """Items as they were committed (the live models name one before)."""
        self._texts: dict[str, str] = {}
        self._completed: set[str] = set()
        self._finishing = False

    def begin(self) -> Sequence[Step]:
        if self._line.session == self._session:
            return []
        self._line.session = self._session
        return [self._session]

    def audio(self, pcm: bytes) -> Sequence[Step]:
        self._since += len(pcm)
        self._held += pcm
        return [self._append()] if len(self._held) >= HOLD_BYTES else []

    def settle(self, silence_ms: int) -> Sequence[Step]:
        if not self._is_silence(silence_ms):
            return self._commit()
        return [] if self._is_waiting else [Transcript(self._text, settled=True, plugin="openai")]

    def finish(self, silence_ms: int) -> Sequence[Step]:
        self._finishing = True
        if not self._is_silence(silence_ms):
            return self._commit()
        steps: list[Step] = []
        if self._sent:
            self._line.clears += 1
            steps.append(CLEAR)
        if not self._is_waiting:
            steps.append(Transcript(self._text, final=True, settled=True, plugin="openai"))
        return steps

    def heard(self, message: Message) -> Sequence[Transcript]:
        told = _read(self._place.who, message)
        kind = told["type"]
        if kind == "input_audio_buffer.cleared":
            self._line.clears -= 1
            self._old = max(0, self._old - 1)
        elif kind == "error":
            return self._error(told["error"])
        elif self._old:
            pass
        elif kind == "input_audio_buffer.committed":
            self._know(told["item_id"])
        elif kind == ITEM + "delta":
            self._texts[told["item_id"]] = self._texts.get(told["item_id"], "") + (told.get("delta") or "")
            return [Transcript(self._text, plugin="openai")] if self._text else []
        elif kind == ITEM + "completed":
            self._know(told["item_id"])
            self._texts[told["item_id"]] = told["transcript"]
            self._completed.add(told["item_id"])
            return self._answer()
        elif kind == ITEM + "failed":
            raise failure(self._place, told.get("error"))
        return []

    def lost(self, lost: LineLost) -> SttError | None:
        if lost.code in (3000, 4000):
            return failure(self._place, {"code": lost.reason.rpartition(".")[2], "message": lost.reason})
        return None

    # -- inside --------------------------------------------------------------------------------------------

    @property
    def _is_waiting(self) -> bool:
        """Whether something was committed that has no text yet."""
        return len(self._completed) < self._commits

    @property
    def _text(self) -> str:
        """All stretches so far; at the end only the committed ones: what follows them is silence."""
        more = [] if self._finishing else [item for item in self._texts if item not in self._order]
        texts = (self._texts.get(item, "").strip() for item in (*self._order, *more))
        return " ".join(text for text in texts if text)

    def _is_silence(self, silence_ms: int) -> bool:
        """Whether nothing was said since the last commit."""
        return self._since <= silence_ms * BYTES_PER_MS + SLACK_BYTES

    def _know(self, item: str) -> None:
        if item not in self._order:
            self._order.append(item)

    def _append(self, *, last: bool = False) -> str:
        pcm = bytes(self._held)
        self._held.clear()
        self._sent += len(pcm)
        whole = np.frombuffer(pcm[: len(pcm) & ~1], "<i2")
        sound = self._resampler.resample_chunk(whole, last=last).tobytes()
        if pcm[len(whole) * 2 :]:
            self._held += pcm[len(whole) * 2 :]
        return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()})

    def _commit(self) -> Sequence[Step]:
        short = LEAST_BYTES - self._since
        if short > 0:
            self._held += bytes(short + short % 2)
        appended = [self._append(last=self._finishing)] if self._held or self._finishing else []
        self._since = self._sent = 0
        self._commits += 1
        return [*appended, COMMIT]

    def _answer(self) -> Sequence[Transcript]:
        if self._is_waiting:
            return [Transcript(self._text, plugin="openai")]
        return [Transcript(self._text, final=self._finishing, settled=True, plugin="openai")]

    def _error(self, error: dict[str, Any]) -> Sequence[Transcript]:
        match error.get("code"):
            case "input_audio_buffer_commit_empty":
                self._commits -= 1  # it heard less than we counted: then there is nothing to wait for
                return [] if self._is_waiting else self._answer()
            case "session_expired":
                raise LineLost(0, "the session was an hour old")
            case _:
                raise failure(self._place, error)


def failure(place: Place, error: Any) -> SttError:
    """The error for the `error` object of an event."""
    told = error if isinstance(error, dict) else {}
    code, kind = str(told.get("code") or ""), str(told.get("type") or "")
    words = f"{place.who} says: {vendor.short(str(told.get('message') or code or kind))}"
    if "api_key" in code or kind in ("authentication_error", "permission_error"):
        meant = Failure.AUTH
    elif "quota" in code or "rate_limit" in code or kind == "rate_limit_error":
        meant = Failure.QUOTA
    elif kind == "invalid_request_error":
        meant = Failure.BAD_REQUEST
    else:
        meant = Failure.TRANSIENT
    return place.advise(SttError(words, meant))


def _read(who: str, message: Message) -> dict[str, Any]:
    try:
        told = json.loads(message)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise wrong_message(who, message)
    return told
