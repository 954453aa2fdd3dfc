"""ElevenLabs' Scribe realtime as a recognizer: manual commits over a socket kept for several utterances.

A commit ends a segment: its text is answered once, and the next partial begins anew. An utterance is one or
several segments, and what is handed over is always all of them.

    chunk, chunk, chunk + commit ──>               (settle)
               <── partial_transcript    "go"                     partial
               <── committed_transcript  "go forward"             settled
    chunk, chunk + commit ──>                      (finish)
               <── partial_transcript    "ten"                    "go forward ten"
               <── committed_transcript  "ten meters"             "go forward ten meters", final

Raw socket: the package's client has no way to time out, bound or cancel what it does, prints the errors of
handlers, and hands a refused connection over as the exception of the WebSocket library.

Wire: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from pipeline import vendor
from pipeline.contracts import Env, Failure, SttError, Transcript, Word
from pipeline.lines import Line, LineLost, Lines, Message, dial, greeting
from pipeline.stt.live import LiveUtterance, Step, wrong_message
from pipeline.stt.messages import BYTES_PER_MS

WHO = "ElevenLabs"
HOST = "wss://api.elevenlabs.io"
KEY = "ELEVENLABS_API_KEY"
MODELS = ("scribe_v2_realtime",)

CHUNK_BYTES = 100 * BYTES_PER_MS
"""Base64 in JSON, so not for every frame."""
MOST_CHUNK_BYTES = 1000 * BYTES_PER_MS
SLACK_BYTES = 60 * BYTES_PER_MS
"""What was fed since a pause may be this much longer than the silence that is claimed."""
LEAST_COMMIT_BYTES = 320 * BYTES_PER_MS
"""A commit of less than 300 ms is refused ("commit_throttled"); silence fills up."""
LEAST_SPEECH_BYTES = 2000 * BYTES_PER_MS
""""Transcript processing starts after the first 2 seconds of audio": a lone "yes" gets silence after it.
https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/realtime/transcripts-and-commit-strategies"""
MOST_SEGMENT_BYTES = 60_000 * BYTES_PER_MS
"""The vendor commits by itself after 90 s, and then an answer would not be to what we asked."""
MOST_TERMS, LONGEST_TERM = 50, 20

FAILURES: Mapping[str, tuple[Failure, str]] = {
    # https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/realtime/event-reference
    "auth_error": (Failure.AUTH, f"refused the API key (check {KEY})"),
    "unaccepted_terms": (Failure.AUTH, "wants its terms accepted first, in the account's settings"),
    "unaccepted_terms_error": (Failure.AUTH, "wants its terms accepted first, in the account's settings"),
    "quota_exceeded": (Failure.QUOTA, "has no credit left for this account"),
    "rate_limited": (Failure.QUOTA, "has had too many requests"),
    "invalid_request": (Failure.BAD_REQUEST, "did not accept the session (check [stt.elevenlabs])"),
    "input_error": (Failure.BAD_REQUEST, "did not accept what it was sent"),
    "chunk_size_exceeded": (Failure.BAD_REQUEST, "did not accept what it was sent"),
    "resource_exhausted": (Failure.TRANSIENT, "has no capacity just now"),
    "queue_overflow": (Failure.TRANSIENT, "cannot keep up"),
    "transcriber_error": (Failure.TRANSIENT, "failed"),
    "error": (Failure.TRANSIENT, "failed"),
}
WORN_OUT = ("session_time_limit_exceeded", "insufficient_audio_activity")
"""Errors of a line that was kept too long: a fresh one will do."""


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.elevenlabs]"""

    model: str = MODELS[0]
    keyterms: tuple[str, ...] = ()
    """Words and phrases likely to be said, at most 50 of 20 characters."""
    word_times: bool = False
    """Wait for the message with word times that follows each committed text."""
    idle_s: float = 30.0
    """How long an unused connection stays open. Audio is billed, an open connection is not."""
    base_url: str = HOST


def create(options: Options, env: Env) -> "ElevenLabs":
    """Raises `MissingKey`. A server of one's own may do without a key."""
    own = options.base_url != HOST
    key = env.keys.get(KEY, "").strip() if own else vendor.key(env, "[stt] elevenlabs", KEY)
    return ElevenLabs(options, key, env.language)


class ElevenLabs:
    """The `TranscriberEngine`."""

    hints_reconnect = True
    languages: tuple[str, ...] = ()

    def __init__(self, options: Options, key: str, language: str) -> None:
        self._options, self._language, self._key = options, language, key
        self._base = options.base_url.rstrip("/")
        # A line without any audio is hung up ("insufficient_audio_activity"), so an idle one gets silence.
        beat = chunk(bytes(CHUNK_BYTES))
        self._lines = Lines(self._connect, idle_s=options.idle_s, beat=beat, beat_s=5.0)

    @property
    def model(self) -> str:
        """The model by which a price is found."""
        return self._options.model

    async def warm(self) -> None:
        """Nothing to import."""

    async def aclose(self) -> None:
        """Hang up."""
        await self._lines.aclose()

    def prepare(self) -> None:
        """Have a connection open."""
        self._lines.prepare(self._query("", ()))

    async def probe(self) -> None:
        """Open a session and say nothing: free (audio is billed), and both key and model are looked at."""
        line = await self._connect(self._query("", ()))
        await line.close()

    def open(self, language: str = "", hints: Sequence[str] = ()) -> LiveUtterance:
        """Start an utterance."""
        query = self._query(language, hints)

        def wire(line: Line) -> SegmentWire:
            assert isinstance(line, Session)
            return SegmentWire(line, self._options.word_times)

        return LiveUtterance(WHO, self._lines, query, wire)

    def _query(self, language: str, hints: Sequence[str]) -> str:
        """What a session is opened with. Hints belong to it: another set of them is another line."""
        spoken = (language or self._language).partition("-")[0].lower()
        pairs = [
            ("model_id", self._options.model),
            ("audio_format", "pcm_16000"),
            ("commit_strategy", "manual"),
            ("include_timestamps", "true" if self._options.word_times else "false"),
        ]
        if len(spoken) in (2, 3) and spoken.isascii() and spoken.isalpha():
            pairs.append(("language_code", spoken))  # ISO 639-1 or 639-3; without it the vendor finds out
        terms = (" ".join(t.split())[:LONGEST_TERM].strip() for t in (*self._options.keyterms, *hints))
        pairs += [("keyterms", t) for t in list(dict.fromkeys(t for t in terms if t))[:MOST_TERMS]]
        return urlencode(pairs)

    async def _connect(self, query: str) -> "Session":
        url = f"{self._base}/v1/speech-to-text/realtime?{query}"
        try:
            line = await dial(SttError, WHO, url, {"xi-api-key": self._key} if self._key else {})
        except SttError as error:
            raise self._explained(error) from error
        try:
            said = _parsed(await greeting(SttError, WHO, line))
            if (refusal := _failure(said)) is not None:
                await line.close()
                raise self._explained(refusal)
        except LineLost as lost:
            raise vendor.unreachable(SttError, WHO, lost) from lost
        return Session(line)

    def _explained(self, error: SttError) -> SttError:
        text = str(error)
        if error.kind is Failure.AUTH and KEY not in text:
            text = f"{text}; check {KEY}"
        if error.kind is Failure.BAD_REQUEST and self._options.model not in MODELS:
            text = f"{text}; [stt.elevenlabs] model is {self._options.model!r}, known is {', '.join(MODELS)}"
        return SttError(text, error.kind, retry_after_s=error.retry_after_s)


class Session:
    """A line that counts the audio that went over it, the silence of its idle time included."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.sent_bytes = 0
        self.segment_from = 0
        """Where in that the segment began that no commit has ended yet."""

    @property
    def is_open(self) -> bool:
        return self._line.is_open

    async def send(self, message: Message) -> None:
        assert isinstance(message, str)
        self.sent_bytes += audio_bytes(message)
        if message.startswith(COMMIT):
            self.segment_from = self.sent_bytes
        await self._line.send(message)

    async def receive(self) -> Message:
        return await self._line.receive()

    async def close(self) -> None:
        await self._line.close()


HEAD = '{"message_type":"input_audio_chunk","sample_rate":16000,"commit":'
COMMIT, NO_COMMIT = f'{HEAD}true,"audio_base_64":"', f'{HEAD}false,"audio_base_64":"'


def chunk(pcm: bytes, *, commit: bool = False) -> str:
    """An `input_audio_chunk`. Written by hand: base64 needs no escaping, and there are ten a second."""
    return f'{COMMIT if commit else NO_COMMIT}{base64.b64encode(pcm).decode()}"}}'


def audio_bytes(message: str) -> int:
    """How much audio an `input_audio_chunk` of ours holds."""
    head = len(COMMIT if message.startswith(COMMIT) else NO_COMMIT)
    return (len(message) - 2 - head) // 4 * 3 - message[-4:].count("=")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit on its way."""

    why: str
    """"settle", "finish", or "full": the segment had become too long."""
    from_bytes: int
    """Where its segment begins on the session's time line."""
    skew_bytes: int
    """How much later that is than in the utterance's own audio: what went before, and filled-in silence."""


class SegmentWire:
    """One utterance. Satisfies `Wire`."""

    def __init__(self, session: Session, word_times: bool) -> None:
        self._session, self._before_bytes = session, session.sent_bytes
        self._word_times = word_times
        self._rest = bytearray()
        self._fed_bytes = self._filled_bytes = 0
        self._texts: list[str] = []
        self._words: list[Word] = []
        self._partial = ""
        self._commits: list[Commit] = []
        self._paused_bytes: int | None = None
        self._settled: Transcript | None = None
        self._language: str | None = None

    def begin(self) -> Sequence[Step]:
        return ()

    def audio(self, pcm: bytes) -> Sequence[Step]:
        self._fed_bytes += len(pcm)
        self._rest += pcm
        if len(self._rest) < CHUNK_BYTES:
            return ()
        if self._session.sent_bytes - self._session.segment_from >= MOST_SEGMENT_BYTES:
            return self._committed("full")
        return (chunk(self._taken()),)

    def settle(self, silence_ms: int) -> Sequence[Step]:
        if self._settled is not None and self._is_still(silence_ms):
            return (self._settled,)
        self._paused_bytes, self._settled = self._fed_bytes, None
        return self._committed("settle")

    def finish(self, silence_ms: int) -> Sequence[Step]:
        if self._fed_bytes == 0:
            return (Transcript("", final=True, settled=True, plugin="elevenlabs"),)
        if self._is_still(silence_ms):
            if self._settled is not None:
                return (replace(self._settled, final=True),)
            self._commits[-1] = replace(self._commits[-1], why="finish")
            return ()
        return self._committed("finish")

    def heard(self, message: Message) -> Sequence[Transcript]:
        said = _parsed(message)
        kind = said.get("message_type")
        answer = "committed_transcript_with_timestamps" if self._word_times else "committed_transcript"
        if kind == "partial_transcript":
            self._partial = _text(said, message)
            return (self._transcript(),) if self._fed_bytes else ()
        if kind == answer:
            return self._answer(said, message)
        if kind == "commit_throttled":  # there was too little to commit: that is an answer too
            return self._answer({"text": ""}, message)
        if kind in WORN_OUT:
            raise LineLost(0, f"{kind}: {said.get('error', '')}")
        if (error := _failure(said)) is not None:
            raise error
        return ()  # session_started, warnings, what comes beside the texts

    def lost(self, lost: LineLost) -> SttError | None:
        del lost  # what is wrong is said in a message before
        return None

    def leave(self) -> Sequence[Message] | None:
        is_quiet = self._settled is not None and not self._commits and not self._partial
        return () if is_quiet else None

    def _is_still(self, silence_ms: int) -> bool:
        """Whether nothing but silence was fed since the last pause."""
        if self._paused_bytes is None:
            return False
        return self._fed_bytes - self._paused_bytes <= silence_ms * BYTES_PER_MS + SLACK_BYTES

    def _taken(self) -> bytes:
        whole = len(self._rest) - len(self._rest) % 2  # chunks hold whole samples
        piece = bytes(self._rest[:whole])
        del self._rest[:whole]
        return piece

    def _committed(self, why: str) -> Sequence[Step]:
        """The rest of the segment, as much silence as it needs, and the order to commit it."""
        sent, begun = self._session.sent_bytes, self._session.segment_from
        self._commits.append(Commit(why, begun, self._before_bytes + self._filled_bytes))
        pcm = self._taken()
        uncommitted, said = sent - begun + len(pcm), sent - self._before_bytes + len(pcm)
        fill = max(0, LEAST_COMMIT_BYTES - uncommitted, LEAST_SPEECH_BYTES - said)
        self._filled_bytes += fill
        pcm += bytes(fill)
        last = max(0, len(pcm) - 1) // MOST_CHUNK_BYTES * MOST_CHUNK_BYTES
        starts = range(0, last + 1, MOST_CHUNK_BYTES)
        return [chunk(pcm[at : at + MOST_CHUNK_BYTES], commit=at == last) for at in starts]

    def _answer(self, said: Mapping[str, Any], message: Message) -> Sequence[Transcript]:
        if not self._commits:
            return ()  # still about the utterance before
        commit = self._commits.pop(0)
        self._partial = ""
        if text := _text(said, message):
            self._texts.append(text)
        self._language = said.get("language_code") or self._language
        self._words += _words(said.get("words") or (), commit)
        if commit.why == "full" or self._commits:
            return (self._transcript(),)
        self._settled = self._transcript(settled=True, final=commit.why == "finish")
        return (self._settled,)

    def _transcript(self, *, settled: bool = False, final: bool = False) -> Transcript:
        return Transcript(
            " ".join(t for t in (*self._texts, self._partial) if t),
            final=final,
            settled=settled,
            words=tuple(self._words),
            language=self._language,
            plugin="elevenlabs",
        )


def _words(items: Sequence[Mapping[str, Any]], commit: Commit) -> list[Word]:
    """The words of a segment in the utterance's own time.

    The vendor does not say whether its seconds count from the session's start or from the segment's. Words
    that end before their segment begins cannot be the former.
    """
    spoken = [w for w in items if w.get("type", "word") == "word" and w.get("text")]
    if not spoken:
        return []
    is_session_time = float(spoken[-1]["end"]) * 1000 * BYTES_PER_MS >= commit.from_bytes
    shift_bytes = (0 if is_session_time else commit.from_bytes) - commit.skew_bytes
    shift_ms = shift_bytes // BYTES_PER_MS
    return [
        Word(
            str(w["text"]).strip(),
            max(0, round(float(w["start"]) * 1000) + shift_ms),
            max(0, round(float(w["end"]) * 1000) + shift_ms),
        )
        for w in spoken
    ]


def _text(said: Mapping[str, Any], message: Message) -> str:
    text = said.get("text")
    if not isinstance(text, str):
        raise wrong_message(WHO, message)
    return text.strip()


def _parsed(message: Message) -> Mapping[str, Any]:
    try:
        said = json.loads(message)
    except ValueError as error:
        raise wrong_message(WHO, message) from error
    if not isinstance(said, dict):
        raise wrong_message(WHO, message)
    return said


def _failure(said: Mapping[str, Any]) -> SttError | None:
    kind = str(said.get("message_type"))
    if kind in FAILURES:
        failure, words = FAILURES[kind]
    elif kind in WORN_OUT:
        failure, words = Failure.TRANSIENT, "ended the session"
    else:
        return None
    return SttError(f"{WHO} {words}: {kind}: {vendor.short(str(said.get('error', '')))}", failure)
