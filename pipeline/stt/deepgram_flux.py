"""Deepgram's Flux models: a transcript per turn, and the model's own opinion of whether the turn is over.

https://developers.deepgram.com/reference/speech-to-text/listen-flux and .../docs/flux/state. About every
250 ms of audio a `TurnInfo` comes; its `event` is Update, StartOfTurn, EagerEndOfTurn, TurnResumed or
EndOfTurn.

An utterance of ours ends where the floor says so, and may hold several of Flux's turns or none:

    speech     ████████████············ settle P ········ finish
    TurnInfo     S   U   U   U   Eager   End               └ ForceEndTurn, and silence until it is answered
    complete             .05 .1  .6      1.0  ─────────────> the floor ends the turn

Nothing has to be asked for to settle: once a pause was announced, every message that covers the speech
before it is settled, each with a newer opinion. `ForceEndTurn` (.../docs/flux/force-end-turn) is ignored
while no turn is going on, so 300 ms of silence follow it: whatever tells of them is the answer.
"""

from collections.abc import Sequence

from pipeline.contracts import SttError, Transcript, Word
from pipeline.lines import LineLost, Message
from pipeline.stt.deepgram_line import BYTES_PER_MS, SLACK_MS, DeepgramLine, event_of, meaning_of, words_of
from pipeline.stt.live import Step

FORCE_END_TURN = '{"type":"ForceEndTurn"}'
PADDING = bytes(300 * BYTES_PER_MS)
"""More than the 250 ms between two messages."""
OVER = 1.0
"""What an EndOfTurn is worth: its confidence is only above the threshold that was asked for, but it is a
decision."""


class FluxWire:
    """One utterance. Times are in ms since the utterance began; `base` is where it began on the line."""

    def __init__(self, line: DeepgramLine) -> None:
        self._line = line
        self._base_ms = line.sent_bytes // BYTES_PER_MS
        self._fed_bytes = 0
        self._ended: list[str] = []
        self._ended_words: list[Word] = []
        self._turn = ""
        self._turn_words: tuple[Word, ...] = ()
        self._complete: float | None = None
        self._covered_ms = 0.0
        self._language: str | None = None
        self._settle_ms: float | None = None
        """Speech up to here is to be covered by a settled transcript."""
        self._finish: tuple[float, float] | None = None
        """Where the speech ended, and where the audio ended."""

    def begin(self) -> Sequence[Step]:
        return ()

    def audio(self, pcm: bytes) -> Sequence[Step]:
        self._fed_bytes += len(pcm)
        return (pcm,)

    def settle(self, silence_ms: int) -> Sequence[Step]:
        self._settle_ms = self._fed_bytes / BYTES_PER_MS - silence_ms
        return (self._said(settled=True),) if self._covered_ms >= self._settle_ms > 0 else ()

    def finish(self, silence_ms: int) -> Sequence[Step]:
        fed_ms = self._fed_bytes / BYTES_PER_MS
        speech_ms = fed_ms - silence_ms
        if not self._turn and speech_ms <= self._covered_ms + SLACK_MS:
            return (self._said(final=True),)
        self._finish = (speech_ms, fed_ms)
        return (FORCE_END_TURN, PADDING)

    def heard(self, message: Message) -> Sequence[Transcript]:
        event = event_of(message)
        if event.get("type") != "TurnInfo":
            return ()  # Connected, Warning, the answers to Configure
        end_ms = event["audio_window_end"] * 1000 - self._base_ms
        if end_ms < 1:
            return ()  # of the utterance before this one
        before = self._said()
        self._covered_ms = max(self._covered_ms, end_ms)
        self._take(event["event"], event["transcript"].strip(), words_of(event.get("words"), self._base_ms))
        if self._turn:
            self._complete = event["end_of_turn_confidence"]
        languages = event.get("languages") or ()
        self._language = languages[0] if languages else self._language
        if self._finish is not None and self._is_final(self._finish):
            self._line.spent = bool(self._turn)  # a turn that did not end would go on in the next utterance
            return (self._said(final=True),)
        if self._settle_ms is not None and end_ms >= self._settle_ms:
            return (self._said(settled=True),)
        said = self._said()
        return (said,) if said != before else ()

    def lost(self, lost: LineLost) -> SttError | None:
        return meaning_of(lost)

    def leave(self) -> Sequence[Message] | None:
        """A turn that is going on, or speech not yet told of, would be part of the next utterance."""
        is_told = self._settle_ms is not None and self._covered_ms >= self._settle_ms
        return () if is_told and not self._turn else None

    def _take(self, name: str, text: str, words: tuple[Word, ...]) -> None:
        self._turn, self._turn_words = text, words
        if name == "EndOfTurn":
            if text:
                self._ended.append(text)
                self._ended_words += words
            self._turn, self._turn_words = "", ()
            self._complete = OVER

    def _is_final(self, finish: tuple[float, float]) -> bool:
        speech_ms, fed_ms = finish
        if self._covered_ms > fed_ms:
            return True  # it knows all there was, and has had the order
        return not self._turn and self._covered_ms + SLACK_MS >= speech_ms

    def _said(self, *, final: bool = False, settled: bool = False) -> Transcript:
        parts = [*self._ended, self._turn] if self._turn else self._ended
        return Transcript(
            " ".join(parts),
            final=final,
            settled=final or settled,
            complete=self._complete,
            words=(*self._ended_words, *self._turn_words),
            language=self._language,
            plugin="deepgram",
        )
