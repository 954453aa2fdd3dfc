"""ElevenLabs' messages about one context, and what its complaints mean. No I/O.

https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import vendor
from pipeline.contracts import Failure, TtsError, Usage
from pipeline.lines import LineLost, Message
from pipeline.tts.contexts import Piece
from pipeline.tts.spoken import Samples, WordTimes

WHO = "ElevenLabs"
VARIABLE = "ELEVENLABS_API_KEY"
RATE_HZ = 24_000
AHEAD_MS = 200
"""Longer than a letter, shorter than what a model makes at once."""
POLICY_VIOLATION = 1008
"""The WebSocket close code of every complaint; the reason says which."""


class UnknownVoice(TtsError):
    """The vendor does not have this voice."""


class Letters:
    """Joins timed characters to words."""

    def __init__(self, words: WordTimes) -> None:
        self._words = words
        self._word = ""
        self._since = 0.0
        self.until = 0.0
        """When the last character ended."""

    def say(
        self, chars: Sequence[str], starts: Sequence[float], ends: Sequence[float], base_ms: float
    ) -> None:
        for char, start, end in zip(chars, starts, ends, strict=False):
            if char.isspace():
                self._end_word()
            else:
                if not self._word:
                    self._since = base_ms + start
                self._word += char
            self.until = base_ms + end

    def finish(self) -> None:
        self._end_word()

    def _end_word(self) -> None:
        if self._word:
            self._words.say(self._word, self._since, self.until)
            self._word = ""


class Context:
    """One segment in the messages of the socket."""

    def __init__(self, name: str, text: str, settings: Mapping[str, float], words: WordTimes) -> None:
        self._name, self._text, self._settings, self._words = name, text, settings, words
        self._letters, self._samples = Letters(words), Samples(RATE_HZ)
        self.ended = False

    def begin(self) -> Sequence[Message]:
        first: dict[str, Any] = {"text": " ", "context_id": self._name}
        if self._settings:
            first["voice_settings"] = self._settings
        return (
            json.dumps(first),
            json.dumps({"text": self._text + " ", "context_id": self._name, "flush": True}),
            self._close(),
        )

    def cancel(self) -> Sequence[Message]:
        return (self._close(),)

    def _close(self) -> Message:
        return json.dumps({"context_id": self._name, "close_context": True})

    def heard(self, message: Message) -> Sequence[Piece]:
        said = _read(message)
        if said.get("error"):
            raise LineLost(
                POLICY_VIOLATION, f"{said['error']} {said.get('message') or ''}"
            )  # it hangs up next
        if said.get("contextId", said.get("context_id")) not in (self._name, None):
            return ()
        out: list[Piece] = []
        before_ms = self._samples.ms
        if said.get("audio"):
            pcm = self._samples.push(base64.b64decode(said["audio"]))
            out += [pcm] if pcm else []
        if a := said.get("alignment") or said.get("normalizedAlignment"):
            # Times are those of this piece of sound (AsyncAPI, Alignment). A letter may end a little after
            # it; a server without sync_alignment runs far ahead, and then times follow on each other.
            starts = a.get("charStartTimesMs") or ()
            ends = [s + d for s, d in zip(starts, a.get("charDurationsMs") or (), strict=False)]
            is_ahead = self._letters.until > before_ms + AHEAD_MS
            self._letters.say(
                a.get("chars") or (), starts, ends, self._letters.until if is_ahead else before_ms
            )
        if said.get("isFinal") or said.get("is_final"):
            self.ended = True
            self._letters.finish()
            out += self._words.finish(self._samples.ms)
            out.append(Usage(characters=len(self._text)))
        else:
            out += self._words.take(self._samples.ms)
        return out

    def lost(self, lost: LineLost) -> TtsError | None:
        """It was told why, except when a line was idle for too long."""
        is_idle = "input_timeout" in lost.reason
        return complaint(lost.reason) if lost.code == POLICY_VIOLATION and not is_idle else None


def complaint(words: str) -> TtsError:
    """What the socket complains about, by its words: it has no better codes."""
    text, said = vendor.short(words), words.lower()
    if is_unknown_voice(said):
        return UnknownVoice(f"{WHO}: {text}; check [tts.elevenlabs] voice", Failure.BAD_REQUEST)
    if re.search(r"api.?key|authoriz|unauth", said):
        return TtsError(f"{WHO} refused the API key: {text}; check {VARIABLE}", Failure.AUTH)
    if re.search(r"quota|credit|concurren|too_many|rate.?limit|busy|max_active", said):
        return TtsError(f"{WHO} has had too many requests or has no credit left: {text}", Failure.QUOTA)
    if "model" in said:
        return TtsError(f"{WHO}: {text}; check [tts.elevenlabs] model", Failure.BAD_REQUEST)
    if re.search(r"invalid|must|not allowed|limit_exceeded|unsupported", said):
        return TtsError(f"{WHO}: {text}; check [tts.elevenlabs]", Failure.BAD_REQUEST)
    return TtsError(f"{WHO} failed: {text}", Failure.TRANSIENT)


def refusal(status: int, body: Any, headers: Mapping[str, str] | None = None) -> TtsError:
    """What an HTTP status and its body mean: https://elevenlabs.io/docs/eleven-api/resources/errors."""
    detail = body.get("detail", body) if isinstance(body, Mapping) else body
    told = detail if isinstance(detail, Mapping) else {"message": detail or ""}
    code, text = str(told.get("status") or told.get("code") or ""), str(told.get("message") or detail or "")
    return named(vendor.refused(TtsError, WHO, status, f"{code} {text}".strip(), headers))


def named(error: TtsError) -> TtsError:
    """A refusal as what it really is, with the setting to change in its text."""
    words, kind = str(error), error.kind
    if is_unknown_voice(words):
        return UnknownVoice(f"{words}; check [tts.elevenlabs] voice", Failure.BAD_REQUEST)
    if "quota_exceeded" in words:  # it comes as a 401
        kind = Failure.QUOTA
    setting = "[tts.elevenlabs] model" if "model" in words.lower() else "[tts.elevenlabs]"
    hint = {Failure.AUTH: f"check {VARIABLE}", Failure.BAD_REQUEST: f"check {setting}"}.get(kind)
    return TtsError(f"{words}; {hint}" if hint else words, kind, retry_after_s=error.retry_after_s)


def is_unknown_voice(words: str) -> bool:
    return bool(re.search(r"voice.{0,60}not.{0,3}(found|exist)", words.lower()))


def _read(message: Message) -> dict[str, Any]:
    said = json.loads(message)
    return said if isinstance(said, dict) else {}
