"""Deepgram's Nova models: `Results` for stretches of audio, some of them final, all of them on request.

https://developers.deepgram.com/reference/speech-to-text/listen-streaming and, for the messages we send,
https://developers.deepgram.com/docs/finalize, .../docs/audio-keep-alive, .../docs/close-stream.

    audio    ├───────────────┼─────────┼·········┤ P
    Results  is_final         is_final   interim
             └── settled for good ─────┘          Finalize ──> is_final, from_finalize

`Finalize` is not answered when hardly anything is left to finalize. So an order is answered by whatever
covers the speech before it, and at once when that is known already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.contracts import SttError, Transcript, Word
from pipeline.lines import LineLost, Message
from pipeline.stt.deepgram_line import BYTES_PER_MS, SLACK_MS, DeepgramLine, event_of, meaning_of, words_of
from pipeline.stt.live import Step

FINALIZE = '{"type":"Finalize"}'
KEEP_ALIVE = '{"type":"KeepAlive"}'


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was understood of a piece of audio."""

    text: str = ""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """Something that was asked for: all speech up to `speech_ms` is to be covered."""

    speech_ms: float
    final: bool


class NovaWire:
    """One utterance. Times are in ms since the utterance began; `base` is where it began on the line."""

    def __init__(self, line: DeepgramLine) -> None:
        self._base_ms = line.sent_bytes // BYTES_PER_MS
        self._fed_bytes = 0
        self._done: list[Stretch] = []
        self._open = Stretch()
        self._covered_ms = 0.0
        self._language: str | None = None
        self._orders: list[Order] = []
        self._is_told = False
        """A settled text was given."""

    def begin(self) -> Sequence[Step]:
        return ()

    def audio(self, pcm: bytes) -> Sequence[Step]:
        self._fed_bytes += len(pcm)
        return (pcm,)

    def settle(self, silence_ms: int) -> Sequence[Step]:
        return self._ask(silence_ms, final=False)

    def finish(self, silence_ms: int) -> Sequence[Step]:
        return self._ask(silence_ms, final=True)

    def heard(self, message: Message) -> Sequence[Transcript]:
        event = event_of(message)
        if event.get("type") != "Results":
            return ()  # Metadata, SpeechStarted, UtteranceEnd: nothing that was said
        end_ms = (event["start"] + event["duration"]) * 1000 - self._base_ms
        if end_ms < 1:
            return ()  # an answer that came too late for the utterance before this one
        best: dict[str, Any] = event["channel"]["alternatives"][0]
        languages = best.get("languages") or ()
        self._language = languages[0] if languages else self._language
        stretch = Stretch(best["transcript"].strip(), words_of(best.get("words"), self._base_ms))
        if not event.get("is_final"):
            if stretch.text == self._open.text:
                return ()
            self._open = stretch
            return (self._said(),)
        self._open = Stretch()
        if stretch.text:
            self._done.append(stretch)
        self._covered_ms = max(self._covered_ms, end_ms)
        answers = self._answer(forced=bool(event.get("from_finalize")))
        return answers or ((self._said(),) if stretch.text else ())

    def lost(self, lost: LineLost) -> SttError | None:
        return meaning_of(lost)

    def leave(self) -> Sequence[Message] | None:
        """After a pause whose text was told only silence is left. It becomes final now, and as it ends before
        the next utterance begins, that one passes it over. Speech that nobody wants is worth a hang-up."""
        return (FINALIZE,) if self._is_told and not self._orders and not self._open.text else None

    def _ask(self, silence_ms: int, *, final: bool) -> Sequence[Step]:
        fed_ms = self._fed_bytes / BYTES_PER_MS
        order = Order(fed_ms - silence_ms, final)
        if self._orders or not self._is_covered(order):
            self._orders.append(order)
            return (FINALIZE,)
        # Asked for all the same: what is left there is silence, and no part of the next utterance.
        left = (FINALIZE,) if fed_ms > self._covered_ms else ()
        return (*left, self._answer_to(order))

    def _is_covered(self, order: Order) -> bool:
        return order.speech_ms <= self._covered_ms + SLACK_MS

    def _answer(self, *, forced: bool) -> tuple[Transcript, ...]:
        answers = []
        while self._orders and (forced or self._is_covered(self._orders[0])):
            answers.append(self._answer_to(self._orders.pop(0)))
            forced = False
        return tuple(answers)

    def _answer_to(self, order: Order) -> Transcript:
        self._is_told = True
        return replace(self._said(), final=order.final, settled=True)

    def _said(self) -> Transcript:
        parts = [s for s in (*self._done, self._open) if s.text]
        return Transcript(
            " ".join(s.text for s in parts),
            words=tuple(w for s in parts for w in s.words),
            language=self._language,
            plugin="deepgram",
        )
