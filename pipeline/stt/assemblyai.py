"""AssemblyAI's Universal-Streaming (v3) as a recognizer: a session kept over several utterances.

The vendor cuts a session into turns. Here our own floor says when a turn is over, so the vendor's end-of-turn
detection is put off (`TURN_SILENCE_MS`) and `ForceEndpoint` asks for what was said so far: at a pause, which
the speaker may go on from, and at the end. An utterance is therefore one or several of the vendor's turns.

    audio, audio, ForceEndpoint ──>                        (settle)
                       <── Turn 7, end_of_turn             "go forward"             settled
    audio, audio, ForceEndpoint ──>                        (finish)
                       <── Turn 8, end_of_turn             "go forward ten meters"  final

`ForceEndpoint` is not answered when there is no turn to end. So where none is known to be open, `finish` ends
the session: `Terminate` is always answered. Of the package, the names and checks of the parameters are used,
its client is not; docs/plugins/stt-assemblyai.md says why.

Wire: https://www.assemblyai.com/docs/streaming/message-sequence
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

from pipeline import vendor
from pipeline.contracts import Env, Failure, SttError, Transcript, Word
from pipeline.lines import HANG_UP_S, Line, LineLost, Lines, Message, dial, greeting
from pipeline.stt.live import LiveUtterance, Step, wrong_message
from pipeline.stt.messages import BYTES_PER_MS

WHO = "AssemblyAI"
HOST = "wss://streaming.assemblyai.com"
KEY = "ASSEMBLYAI_API_KEY"
ENGLISH, MULTILINGUAL = "universal-streaming-english", "universal-streaming-multilingual"

LEAST_BYTES = 50 * BYTES_PER_MS
"""A message of less (or of more than 1000 ms) ends the session with code 3007."""
SLACK_BYTES = 60 * BYTES_PER_MS
"""What was fed since a pause may be this much longer than the silence that is claimed."""
TURN_SILENCE_MS = 5000
"""After so much silence the vendor ends a turn by itself: longer than our floor ever waits."""
MOST_TERMS, LONGEST_TERM = 100, 50

Verdict = tuple[Failure, str]
AUTH: Verdict = (Failure.AUTH, f"refused the API key (check {KEY})")
QUOTA: Verdict = (Failure.QUOTA, "has too many sessions of this account, or no credit left")
OURS: Verdict = (Failure.BAD_REQUEST, "did not accept what it was sent")
MEANT: Mapping[int, Verdict] = {
    # https://www.assemblyai.com/docs/streaming/common-session-errors-and-closures, and the package's list
    **dict.fromkeys((1008, 4001), AUTH),
    **dict.fromkeys((3009, 4002, 4003, 4102), QUOTA),
    **dict.fromkeys((3006, 3007, 4000, 4032, 4033, 4034, 4100, 4101), OURS),
}
"""What a close code means. The others (3005 server error, 3008 expired, …) are worth a fresh session."""


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.assemblyai]"""

    model: str = ENGLISH
    """The `speech_model`. The English one gives way to the multilingual one where English is not spoken."""
    format_turns: bool = False
    """Ask for punctuation, capitals and digits. They come in a second message after the text, so later."""
    keyterms: tuple[str, ...] = ()
    """Words and phrases likely to be said, at most 100 of 50 characters. The vendor charges for them."""
    idle_s: float = 15.0
    """How long an unused session stays open. The vendor bills by how long sessions are open."""
    base_url: str = HOST


def create(options: Options, env: Env) -> "AssemblyAi":
    """Raises `MissingKey`. A server of one's own may do without a key."""
    own = options.base_url != HOST
    key = env.keys.get(KEY, "").strip() if own else vendor.key(env, "[stt] assemblyai", KEY)
    return AssemblyAi(options, key, env.language)


class AssemblyAi:
    """The `TranscriberEngine`."""

    languages: tuple[str, ...] = ()

    def __init__(self, options: Options, key: str, language: str) -> None:
        self._options, self._language = options, language
        self._headers = {"Authorization": key, "AssemblyAI-Version": "2025-05-12"}
        self._base = options.base_url.rstrip("/")
        self._sdk: ModuleType | None = None
        self._lines = Lines(self._connect, idle_s=options.idle_s)

    @property
    def model(self) -> str:
        """The model by which a price is found."""
        return self._options.model

    async def warm(self) -> None:
        """Import the package (300 ms, in a thread). Raises `Unavailable`."""
        self._sdk = await vendor.load("assemblyai.streaming.v3.models", "assemblyai")

    async def aclose(self) -> None:
        """End every session."""
        await self._lines.aclose()

    def prepare(self) -> None:
        """Have a session open."""
        self._lines.prepare(self._model_for(""))

    async def probe(self) -> None:
        """Ask for a temporary token (free), having looked the model up in the package's list."""
        self._url(self._options.model)
        url = "http" + self._base.removeprefix("ws") + "/v3/token?expires_in_seconds=60"
        try:
            await vendor.get_json(SttError, WHO, url, self._headers)
        except SttError as error:
            raise _naming_the_key(error) from error

    def open(self, language: str = "", hints: Sequence[str] = ()) -> LiveUtterance:
        """Start an utterance."""
        terms = _terms((*self._options.keyterms, *hints))

        def wire(line: Line) -> SessionWire:
            assert isinstance(line, Session)
            return SessionWire(line, self._messages, terms, self._waits_for_format)

        return LiveUtterance(WHO, self._lines, self._model_for(language), wire)

    @property
    def _messages(self) -> ModuleType:
        assert self._sdk is not None, "warm() comes first"
        return self._sdk

    @property
    def _waits_for_format(self) -> bool:
        return self._options.format_turns and self._options.model in (ENGLISH, MULTILINGUAL)

    def _model_for(self, language: str) -> str:
        spoken = (language or self._language).lower()
        if self._options.model == ENGLISH and spoken.partition("-")[0] != "en":
            return MULTILINGUAL
        return self._options.model

    def _url(self, model: str) -> str:
        """Where a session with this model is opened. Raises BAD_REQUEST for a model that there is not."""
        known = [str(m.value) for m in self._messages.SpeechModel]
        if model not in known:
            text = f"[stt.assemblyai] model {model!r} is unknown to the package assemblyai; it knows: "
            raise SttError(text + ", ".join(known), Failure.BAD_REQUEST)
        universal = model in (ENGLISH, MULTILINGUAL)
        parameters = self._messages.RealTimeParameters(
            sample_rate=16_000,
            encoding="pcm_s16le",
            speech_model=model,
            format_turns=self._options.format_turns if universal else None,
            end_of_turn_confidence_threshold=1.0 if universal else None,
            min_turn_silence=TURN_SILENCE_MS,
            max_turn_silence=TURN_SILENCE_MS,
            keyterms_prompt=list(_terms(self._options.keyterms)) or None,
            language_detection=None if model == ENGLISH else True,
        )
        query = parameters.model_dump(mode="json", exclude_none=True)
        return f"{self._base}/v3/ws?{urlencode({k: _plain(v) for k, v in query.items()})}"

    async def _connect(self, model: str) -> "Session":
        try:
            line = Session(await dial(SttError, WHO, self._url(model), self._headers))
        except SttError as error:
            raise _naming_the_key(error) from error
        line.terms = _terms(self._options.keyterms)
        try:
            said = _parsed(await greeting(SttError, WHO, line))
            if said.get("type") == "Error":
                await line.close()
                raise _lost_by(said)
        except LineLost as lost:
            raise _meaning(lost) or vendor.unreachable(SttError, WHO, lost) from lost
        return line


class Session:
    """A line that remembers what went over it, and says goodbye in the way that ends the bill."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.sent_bytes = 0
        """Where on the session's time line the next audio will be."""
        self.turn = -1
        """The number of the last turn seen."""
        self.terms: tuple[str, ...] = ()
        self._ended = False

    @property
    def is_open(self) -> bool:
        return self._line.is_open and not self._ended

    async def send(self, message: Message) -> None:
        if isinstance(message, bytes):
            self.sent_bytes += len(message)
        elif message == TERMINATE:
            self._ended = True
        await self._line.send(message)

    async def receive(self) -> Message:
        return await self._line.receive()

    async def close(self) -> None:
        if self.is_open:
            with suppress(LineLost, TimeoutError):
                async with asyncio.timeout(HANG_UP_S / 2):
                    await self.send(TERMINATE)
        await self._line.close()


FORCE = '{"type":"ForceEndpoint"}'
TERMINATE = '{"type":"Terminate"}'


@dataclass(frozen=True, slots=True)
class Turn:
    """What was understood of one of the vendor's turns."""

    text: str
    words: tuple[Word, ...]
    language: str | None


@dataclass(slots=True)
class Ask:
    """A `ForceEndpoint` on its way."""

    at_bytes: int
    """Where on the session's time line it came."""
    final: bool


class SessionWire:
    """One utterance within a session. Satisfies `Wire`."""

    def __init__(
        self, session: Session, messages: ModuleType, terms: tuple[str, ...], formatted: bool
    ) -> None:
        self._session, self._messages, self._terms, self._formatted = session, messages, terms, formatted
        self._from_bytes, self._after = session.sent_bytes, session.turn
        self._rest = bytearray()
        self._fed_bytes = 0
        self._turns: dict[int, Turn] = {}
        self._is_open = False
        """Whether the last of the turns may still grow, so that `ForceEndpoint` will be answered."""
        self._asks: list[Ask] = []
        self._paused_bytes: int | None = None
        """How much had been fed at the last `settle`."""
        self._settled: Transcript | None = None
        """The answer to it."""

    def begin(self) -> Sequence[Step]:
        if self._terms == self._session.terms:
            return ()
        self._session.terms = self._terms
        update = self._messages.UpdateConfiguration(keyterms_prompt=list(self._terms))
        return (update.model_dump_json(exclude_none=True),)

    def audio(self, pcm: bytes) -> Sequence[Step]:
        self._fed_bytes += len(pcm)
        self._rest += pcm
        return self._flushed() if len(self._rest) >= LEAST_BYTES else ()

    def settle(self, silence_ms: int) -> Sequence[Step]:
        if self._settled is not None and self._is_still(silence_ms):
            return (self._settled,)
        self._paused_bytes, self._settled = self._fed_bytes, None
        return self._forced(final=False)  # what is held back, less than 50 ms of silence, can wait

    def finish(self, silence_ms: int) -> Sequence[Step]:
        is_still = self._is_still(silence_ms)
        if is_still and self._settled is not None:
            return (replace(self._settled, final=True),)
        if self._rest:
            self._rest += bytes(max(0, LEAST_BYTES - len(self._rest)))
        rest = self._flushed()
        if self._is_open and (is_still or not self._asks):
            # Asked once more: what was open may have begun after the vendor had passed the first request.
            self._asks.clear()
            return (*rest, *self._forced(final=True))
        return (*rest, TERMINATE)  # nothing else is sure to be answered

    def heard(self, message: Message) -> Sequence[Transcript]:
        said = _parsed(message)
        match said.get("type"):
            case "Turn":
                try:
                    return self._turn(said)
                except (KeyError, TypeError, ValueError) as error:
                    raise wrong_message(WHO, message) from error
            case "Termination":
                return (self._transcript(settled=True, final=True),)
            case "Error":
                lost = _lost_by(said)
                raise self.lost(lost) or lost
            case _:  # Begin, SpeechStarted, Warning, Heartbeat, …: nothing was said
                return ()

    def lost(self, lost: LineLost) -> SttError | None:
        return _meaning(lost)

    def leave(self) -> Sequence[Message] | None:
        is_quiet = self._settled is not None and not self._is_open and not self._asks
        return () if is_quiet else None

    def _is_still(self, silence_ms: int) -> bool:
        """Whether nothing but silence was fed since the last pause, whose `ForceEndpoint` may be on its
        way or answered."""
        paused = self._paused_bytes
        if paused is None or (self._settled is None and not self._asks):
            return False
        return self._fed_bytes - paused <= silence_ms * BYTES_PER_MS + SLACK_BYTES

    def _flushed(self) -> Sequence[Step]:
        whole = len(self._rest) - len(self._rest) % 2  # messages hold whole samples
        piece = bytes(self._rest[:whole])
        del self._rest[:whole]
        return (piece,) if piece else ()

    def _forced(self, *, final: bool) -> Sequence[Step]:
        at_bytes = self._from_bytes + self._fed_bytes
        self._asks.append(Ask(at_bytes, final))
        return (FORCE,)

    def _turn(self, said: Mapping[str, Any]) -> Sequence[Transcript]:
        number = int(said["turn_order"])
        if number <= self._after:
            return ()  # still about the utterance before
        self._session.turn = max(self._session.turn, number)
        words = said["words"]
        ended = bool(said["end_of_turn"])
        # Words that may still change are only in `words`.
        text = str(said["transcript"]) if ended else " ".join(str(w["text"]) for w in words)
        self._turns[number] = Turn(
            text.strip(), tuple(self._word(w) for w in words), said.get("language_code") or None
        )
        self._is_open = not ended or (self._formatted and not said["turn_is_formatted"])
        ask = None if self._is_open else self._answered(words)
        if ask is None:
            return (self._transcript(),)
        confidence = float(said["end_of_turn_confidence"])
        answer = self._transcript(
            settled=True,
            final=ask.final,
            # 1 says no more than that the turn was ended as we asked for.
            complete=confidence if confidence < 1 else None,
        )
        self._settled = answer
        return (answer,)

    def _answered(self, words: Sequence[Mapping[str, Any]]) -> Ask | None:
        """Which request the end of a turn answers, if it is the newest: those that came before the turn's
        last word was said were never answered, and an older one says nothing about what came after it."""
        end_bytes = int(words[-1]["end"]) * BYTES_PER_MS if words else 0
        while self._asks and self._asks[0].at_bytes < end_bytes - SLACK_BYTES:
            self._asks.pop(0)
        if not self._asks:
            return None
        ask = self._asks.pop(0)
        return None if self._asks else ask

    def _word(self, word: Mapping[str, Any]) -> Word:
        from_ms = self._from_bytes // BYTES_PER_MS
        start, end = int(word["start"]) - from_ms, int(word["end"]) - from_ms
        return Word(str(word["text"]), max(0, start), max(0, end))

    def _transcript(
        self, *, settled: bool = False, final: bool = False, complete: float | None = None
    ) -> Transcript:
        turns = [self._turns[number] for number in sorted(self._turns)]
        return Transcript(
            " ".join(t.text for t in turns if t.text),
            final=final,
            settled=settled,
            complete=complete,
            words=tuple(word for t in turns for word in t.words),
            language=turns[-1].language if turns else None,
            plugin="assemblyai",
        )


def _parsed(message: Message) -> Mapping[str, Any]:
    try:
        said = json.loads(message)
    except ValueError as error:
        raise wrong_message(WHO, message) from error
    if not isinstance(said, dict):
        raise wrong_message(WHO, message)
    return said


def _lost_by(said: Mapping[str, Any]) -> LineLost:
    """An `Error` message: the session closes with the same code, and with fewer words."""
    code = said.get("error_code")
    return LineLost(code if isinstance(code, int) else 0, str(said.get("error", "")))


def _meaning(lost: LineLost) -> SttError | None:
    verdict = MEANT.get(lost.code)
    reason = lost.reason.lower()
    if verdict is AUTH and any(word in reason for word in ("concurrent", "balance", "credit", "funds")):
        verdict = QUOTA  # code 1008 stands for all that is wrong with an account
    if verdict is OURS and "rate exceeded" in reason:
        return SttError(f"{WHO} got the audio too fast: {vendor.short(lost.reason)}", Failure.TRANSIENT)
    if verdict is None:
        return None
    kind, words = verdict
    return SttError(f"{WHO} {words}: {vendor.short(lost.reason)} ({lost.code})", kind)


def _naming_the_key(error: SttError) -> SttError:
    if error.kind is not Failure.AUTH:
        return error
    return SttError(f"{error}; check {KEY}", error.kind)


def _terms(terms: Sequence[str]) -> tuple[str, ...]:
    """What the vendor takes of them; one too long would end the session."""
    kept = (" ".join(t.split())[:LONGEST_TERM].strip() for t in terms)
    return tuple(dict.fromkeys(t for t in kept if t))[:MOST_TERMS]


def _plain(value: Any) -> str:
    """A query parameter: lists as JSON, as the package writes them."""
    return value if isinstance(value, str) else json.dumps(value)
