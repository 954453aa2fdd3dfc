"""Our own wire: s16le binary or base64 JSON, as in docs/protocol.md. A codec: it decides nothing.

Resampling happens here: the session hears 16 kHz mono, whatever the client sends. What cannot be used is a
`BadMessage` with a sentence for the client; the session never sees it.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soxr

from pipeline.core.audio import BadAudio, read_wav
from pipeline.outbox import Event
from server.wire.common import RATES, Outgoing

MAX_BINARY_BYTES = 64 * 1024
MAX_TEXT_CHARS = 8_000
MAX_PROMPT_CHARS = 32_000


class BadMessage(Exception):
    """The client sent something that cannot be used. The text is one sentence for it."""

    def __init__(self, message: str, code: str = "bad_message") -> None:
        super().__init__(message)
        self.code = code


class TooBig(Exception):
    """More than the wire allows in one message: close 1009."""


class Voice:
    """Encodes and decodes for one socket."""

    def __init__(self) -> None:
        self.base64 = False
        self.input_rate = 16_000
        self._odd = b""
        self._resampler: soxr.ResampleStream | None = None
        self._speaking = ""

    def follow(self, input_rate: int, *, base64_mode: bool) -> None:
        """Do as the session was set up: by this client's `start`, or by an earlier one's."""
        self.base64 = base64_mode
        if input_rate == self.input_rate:
            return
        self.input_rate = input_rate
        # Low quality: 12 ms of delay instead of 40, and everything a recognizer uses is kept.
        self._resampler = (
            soxr.ResampleStream(input_rate, 16_000, 1, "int16", "LQ") if input_rate != 16_000 else None
        )

    # -- from the client ---------------------------------------------------------------------------------

    def audio(self, data: bytes) -> bytes:
        """A binary message as 16 kHz s16le. A sample may be cut in two by the client's messages."""
        if len(data) > MAX_BINARY_BYTES:
            raise TooBig
        if self._odd or len(data) & 1:
            data = self._odd + data
            cut = len(data) & ~1
            data, self._odd = data[:cut], data[cut:]
        return self._resample(data) if self._resampler is not None else data

    def decode(self, text: str) -> Event:
        """A text message as a checked event. Audio comes out as {"type": "audio", "pcm": 16 kHz}.

        Raises `BadMessage`.
        """
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadMessage("This message is not JSON.") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise BadMessage('A message must be a JSON object with a "type".')
        read = _READERS.get(message["type"])
        if read is None:
            raise BadMessage(f"Unknown message type {message['type'][:40]!r}.", "unknown_type")
        return read(self, message)

    def _resample(self, pcm: bytes) -> bytes:
        assert self._resampler is not None
        return bytes(self._resampler.resample_chunk(np.frombuffer(pcm, "<i2")).tobytes())

    def _audio_chunk(self, message: Mapping[str, Any]) -> Event:
        encoded = message.get("audio_data")
        if not isinstance(encoded, str):
            raise BadMessage("audio_chunk needs audio_data, base64 text.")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadMessage("audio_data is not base64.") from error
        kind = message.get("format", "pcm")
        if kind == "pcm":
            return {"type": "audio", "pcm": self.audio(data)}
        if kind != "wav":
            raise BadMessage('format must be "pcm" or "wav".')
        try:
            pcm, rate = read_wav(data)
        except BadAudio as error:
            raise BadMessage(str(error)) from error
        if rate != 16_000 and pcm:
            pcm = soxr.resample(np.frombuffer(pcm, "<i2"), rate, 16_000, "MQ").tobytes()
        return {"type": "audio", "pcm": pcm}

    def _start(self, message: Mapping[str, Any]) -> Event:
        event: Event = {"type": "start"}
        for key, check in _START.items():
            if message.get(key) is not None:
                event[key] = check(key, message[key])
        return event

    def _text_message(self, message: Mapping[str, Any]) -> Event:
        key = "text" if message["type"] == "text_input" else "message"
        return {"type": "text_message", "message": _text(key, message.get(key), MAX_TEXT_CHARS)}

    def _update_prompt(self, message: Mapping[str, Any]) -> Event:
        return {"type": "update_prompt", "prompt": _text("prompt", message.get("prompt"), MAX_PROMPT_CHARS)}

    def _playback(self, message: Mapping[str, Any]) -> Event:
        played, response_id = message.get("played_ms"), message.get("response_id")
        if not isinstance(played, int | float) or isinstance(played, bool) or not 0 <= played < math.inf:
            played = None
        if not isinstance(response_id, str) or played is None:
            raise BadMessage("playback needs response_id and played_ms, a number of milliseconds.")
        return {"type": "playback", "response_id": response_id, "played_ms": float(played)}

    def _plain(self, message: Mapping[str, Any]) -> Event:
        return {"type": message["type"]}

    # -- to the client -----------------------------------------------------------------------------------

    def encode(self, item: Event | bytes) -> tuple[Outgoing]:
        """An event or a piece of reply audio as one message."""
        if isinstance(item, bytes):
            if not self.base64:
                return ({"type": "websocket.send", "bytes": item},)
            audio = base64.b64encode(item).decode("ascii")
            item = {"type": "audio_response", "response_id": self._speaking, "audio_base64": audio}
        elif item["type"] == "audio.begin":
            self._speaking = item["response_id"]
        return ({"type": "websocket.send", "text": json.dumps(item)},)  # ASCII: no text can break it


def _text(key: str, value: object, most: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadMessage(f"{key} must be text that is not empty.")
    if len(value) > most:
        raise BadMessage(f"{key} is longer than {most} characters.")
    return _whole(key, value).strip()


def _whole(key: str, value: str) -> str:
    """Text that every file and database takes: JSON can escape half a character, and NUL."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadMessage(f"{key} holds half a character (a lone surrogate).") from error
    return value.replace("\0", "")


def _one_of(*choices: object) -> Callable[[str, object], Any]:
    def check(key: str, value: object) -> Any:
        if isinstance(value, bool) or value not in choices:
            raise BadMessage(f"{key} must be one of {', '.join(str(c) for c in choices)}.")
        return value

    return check


def _word(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise BadMessage(f"{key} must be text of at most 200 characters.")
    return _whole(key, value)


def _prompt(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARS:
        raise BadMessage(f"{key} must be text of at most {MAX_PROMPT_CHARS} characters.")
    return _whole(key, value)


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadMessage(f"{key} must be true or false.")
    return value


_START: dict[str, Callable[[str, object], Any]] = {
    "mode": _one_of("open-mic", "hold-to-talk"),
    "agent_id": _word,
    "voice": _word,
    "language": _word,
    "system_prompt": _prompt,
    "response": _one_of("voice", "text", "both"),
    "input_rate": _one_of(*RATES),
    "output_rate": _one_of(*RATES),
    "base64": _flag,
    "marks": _flag,
}

_READERS: dict[str, Callable[[Voice, Mapping[str, Any]], Event]] = {
    "start": Voice._start,
    "audio_chunk": Voice._audio_chunk,
    "talk.begin": Voice._plain,
    "talk.end": Voice._plain,
    "text_message": Voice._text_message,
    "text_input": Voice._text_message,
    "update_prompt": Voice._update_prompt,
    "interrupt": Voice._plain,
    "playback": Voice._playback,
    "ping": Voice._plain,
    "end": Voice._plain,
}
