"""What Deepgram's two streaming protocols have in common: the connection, and what goes wrong on it."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.contracts import Failure, SttError, Word
from pipeline.lines import Line, LineLost, Message
from pipeline.stt.live import wrong_message

WHO = "Deepgram"
CLOSE_STREAM = '{"type":"CloseStream"}'
BYTES_PER_MS = 32
SLACK_MS = 60
"""A pause is known to the frame, a transcript's end to some milliseconds: so much may be missing."""


class DeepgramLine:
    """A `Line` that knows how much audio went over it: Deepgram counts every time from its first byte."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.sent_bytes = 0
        self.spent = False
        """Something is open on it that the next utterance must not inherit."""

    @property
    def is_open(self) -> bool:
        return self._line.is_open and not self.spent

    async def send(self, message: Message) -> None:
        if isinstance(message, bytes):
            self.sent_bytes += len(message)
        await self._line.send(message)

    async def receive(self) -> Message:
        return await self._line.receive()

    async def close(self) -> None:
        """Say goodbye the vendor's way first: it stops transcribing what nobody waits for."""
        if self._line.is_open:
            try:
                await self._line.send(CLOSE_STREAM)
            except LineLost:
                pass  # it is gone already
        await self._line.close()


def event_of(message: Message) -> Mapping[str, Any]:
    """A message as JSON. Raises `SttError` for what is none, and for the vendor's own error message."""
    if isinstance(message, bytes):
        raise wrong_message(WHO, message)
    try:
        event = json.loads(message)
    except ValueError as error:
        raise wrong_message(WHO, message) from error
    if not isinstance(event, dict):
        raise wrong_message(WHO, message)
    if event.get("type") == "Error":
        # v1: variant; v2: code (https://developers.deepgram.com/reference/speech-to-text/listen-flux).
        code = str(event.get("code") or event.get("variant") or "")
        words = event.get("description") or event.get("message") or ""
        kind = Failure.BAD_REQUEST if code == "SchemaError" else Failure.TRANSIENT
        raise SttError(f"{WHO} failed: {code} {words}".strip(), kind)
    return event


def words_of(items: Any, base_ms: int) -> tuple[Word, ...]:
    """The words that have times, counted from the utterance's beginning."""
    words = []
    for item in items or ():
        start, end = item.get("start"), item.get("end")
        if start is not None and end is not None:
            text = str(item.get("punctuated_word") or item.get("word") or "")
            words.append(Word(text, _ms(start, base_ms), _ms(end, base_ms)))
    return tuple(words)


def _ms(seconds: float, base_ms: int) -> int:
    return max(0, round(seconds * 1000) - base_ms)


def meaning_of(lost: LineLost) -> SttError | None:
    """What a close code says. NET-0000 and NET-0001 (1011) are worth a fresh line; DATA-0000 (1008) is not:
    https://developers.deepgram.com/docs/stt-troubleshooting-websocket-data-and-net-errors"""
    if lost.code == 1008:
        return SttError(f"{WHO} does not take this audio: {lost}", Failure.BAD_REQUEST)
    return None
