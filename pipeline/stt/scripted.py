"""A recognizer that always hears what it was told to, after fixed delays: for tests, benchmarks and replays.

It takes real audio and counts it, but does not listen. All waiting goes through the event loop's timers, so
under a virtual clock every time is exact:

* a partial with k words after k x 300 ms of audio, never the whole text;
* the settled and the final text `final_ms` after the end of speech, that is `final_ms - silence_ms` after
  `settle` or `finish`, or at once when that has passed;
* a final at once when `finish` comes after the settled text with nothing but silence in between.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.contracts import Env, Failure, SttError, Transcript
from pipeline.stt.messages import BYTES_PER_MS
from pipeline.stt.outlet import Outlet

WORD_BYTES = 300 * BYTES_PER_MS  # how fast people speak, about
SLACK_BYTES = 60 * BYTES_PER_MS  # "nothing but silence" may be off by a few frames

Fail = Literal["", "error", "hang", "empty", "late"]


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.scripted]"""

    text: tuple[str, ...] = ("what can you do for me today",)
    """What is heard; of several texts the next one in each utterance, over and over."""
    final_ms: int = 100
    """From the end of speech to the text."""
    fail: Fail = ""
    """How utterances fail: "error" in place of the text, "hang" (no answer ever), "empty" (a final without
    text), "late" (a final after the utterance was closed)."""
    fail_after: int = 0
    """How many utterances go well before they fail."""


def create(options: Options, env: Env) -> "Scripted":
    """Always possible."""
    del env
    return Scripted(options)


class Scripted:
    """The `TranscriberEngine`."""

    languages: tuple[str, ...] = ()

    def __init__(self, options: Options) -> None:
        self._options = options
        self._opened = 0
        self._open: set[Utterance] = set()

    async def warm(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Stop every timer."""
        for utterance in list(self._open):
            utterance.stop()

    def open(self, language: str = "", hints: Sequence[str] = ()) -> "Utterance":
        """The next utterance: its text is settled here, by counting."""
        del language, hints
        texts = self._options.text or ("",)
        text = texts[self._opened % len(texts)]
        fail: Fail = self._options.fail if self._opened >= self._options.fail_after else ""
        self._opened += 1
        utterance = Utterance("" if fail == "empty" else text, self._options.final_ms, fail, self._open)
        self._open.add(utterance)
        return utterance


class Utterance:
    """One `Transcriber`."""

    def __init__(self, text: str, final_ms: int, fail: Fail, open_ones: "set[Utterance]") -> None:
        self._text, self._words = text, text.split()
        self._final_ms, self._fail, self._open_ones = final_ms, fail, open_ones
        self._outlet = Outlet()
        self._timer: asyncio.TimerHandle | None = None
        self._fed_bytes = self._said_words = 0
        self._settled_at: int | None = None  # _fed_bytes at the last settle
        self._is_settled = self._is_finishing = False

    def feed(self, pcm: bytes) -> None:
        """Count the audio; every 300 ms of it are one more word."""
        self._fed_bytes += len(pcm)
        words = min(self._fed_bytes // WORD_BYTES, len(self._words) - 1)
        if words > self._said_words and not self._fail:
            self._said_words = words
            self._outlet.put(Transcript(" ".join(self._words[:words]), plugin="scripted"))

    def settle(self, silence_ms: int) -> None:
        """Answer with the whole text, on time."""
        if self._is_finishing:
            return
        if not self._is_still_settled(silence_ms):
            self._settled_at, self._is_settled = self._fed_bytes, False
            self._answer_in(self._final_ms - silence_ms)
        elif self._is_settled:
            self._answer_in(0)

    def finish(self, silence_ms: int) -> None:
        """Answer with the final, on time."""
        if self._is_finishing:
            return
        self._is_finishing = True
        if not self._is_still_settled(silence_ms):
            self._answer_in(self._final_ms - silence_ms)
        elif self._is_settled:
            self._answer_in(0)
        # else: the timer of the settle is running, and its answer will be the final

    def transcripts(self) -> AsyncIterator[Transcript]:
        """Partials, then the final."""
        return self._outlet.read()

    async def aclose(self) -> None:
        """Forget the utterance; one that is to be "late" speaks up all the same."""
        if self._fail == "late" and not self._outlet.is_done:
            self._is_finishing = True
            self._arm(self._final_ms)
        else:
            self.stop()

    def stop(self) -> None:
        """No more timers, no more words."""
        if self._timer is not None:
            self._timer.cancel()
        self._outlet.close()
        self._open_ones.discard(self)

    def _is_still_settled(self, silence_ms: int) -> bool:
        at = self._settled_at
        return at is not None and self._fed_bytes - at <= silence_ms * BYTES_PER_MS + SLACK_BYTES

    def _answer_in(self, delay_ms: int) -> None:
        if self._fail not in ("hang", "late"):
            self._arm(delay_ms)

    def _arm(self, delay_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if delay_ms > 0:
            self._timer = asyncio.get_running_loop().call_later(delay_ms / 1000, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        self._timer = None
        if self._fail == "error":
            self._outlet.fail(SttError("the scripted recognizer was told to fail", Failure.TRANSIENT))
        else:
            final = self._is_finishing
            self._is_settled = True
            self._outlet.put(Transcript(self._text, final=final, settled=True, plugin="scripted"))
        if self._outlet.is_done:
            self._open_ones.discard(self)
