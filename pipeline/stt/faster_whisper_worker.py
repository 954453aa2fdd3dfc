"""The process in which Whisper runs.

Whisper hears up to 30 s at once and has no memory, so a growing utterance is decoded again and again:

* a final or settled text goes first; partials fill the idle time, and after a decode that took t the next
  partial waits t/2, so that a third of the worker's time stays free for finals;
* what is longer than `WINDOW_S` is cut at a quiet moment; the text before the cut is kept as it is, and no
  decode ever takes more than one window.
"""

import json
import os
import time
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read once by the import below: nothing here may go to the network

import faster_whisper
import numpy as np
from numpy.typing import NDArray

from pipeline.stt.messages import (
    BYTES_PER_MS,
    CLOSE,
    FAILED,
    FEED,
    FINAL,
    FINISH,
    OPEN,
    PARTIAL,
    SETTLE,
    SETTLED,
)
from pipeline.stt.window import RATE_HZ, WINDOW_S, quiet_moment
from pipeline.worker import Link, Note, Refused, run

PARTIAL_BYTES = 300 * BYTES_PER_MS  # a word or so: decoding oftener finds nothing new
TAIL_MS = 100  # silence kept after the speech: cut tight, the last word suffers
# Whisper takes 448 tokens in all, and a token can be a single byte: 100 + 100 + 224 always fit.
PROMPT_BYTES = 100  # of the text before a cut, so that the next window goes on from it
HINT_BYTES = 100
MOST_TOKENS = 224
NO_SPEECH, LOG_PROB = 0.6, -1.0  # Whisper's own thresholds (openai/whisper, transcribe.py)

Audio = NDArray[np.float32]


class Utterance:
    """One utterance: its audio since the last cut, and the text before it."""

    def __init__(self, language: str, hints: list[str]) -> None:
        self.language = language
        self.hints = ", ".join(hints).encode()[:HINT_BYTES].decode(errors="ignore")
        self.pcm = bytearray()
        self.before = ""  # the text before the audio in `pcm`
        self.unseen_bytes = 0
        self.asked: Note | None = None  # the SETTLE or FINISH that waits
        self.text = ""


class Recognizer:
    """Decides what to decode next, and decodes it."""

    def __init__(self, link: Link, settings: dict[str, Any]) -> None:
        self._link = link
        self._settings = settings
        self._utterances: dict[int, Utterance] = {}
        self._next_partial_at = 0.0
        cores = max(1, (os.cpu_count() or 1) - 1)
        try:
            self._model = faster_whisper.WhisperModel(
                settings["model"],
                device=settings["device"],
                compute_type=settings["compute_type"],
                cpu_threads=settings["threads"] or max(1, cores // settings["workers"]),
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise Refused(f"Whisper could not load {settings['model']}: {error}") from error

    @property
    def is_multilingual(self) -> bool:
        """Whether the model knows more than English."""
        return bool(self._model.model.is_multilingual)

    @property
    def has_work(self) -> bool:
        """Whether somebody waits for a settled or final text."""
        return any(u.asked for u in self._utterances.values())

    @property
    def partial_in_s(self) -> float | None:
        """How long until a partial may be decoded; None = there is nothing new to decode."""
        if all(u.unseen_bytes < PARTIAL_BYTES for u in self._utterances.values()):
            return None
        return max(0.0, self._next_partial_at - time.monotonic())

    def take(self, note: Note) -> None:
        """Note what a message says; decodes nothing."""
        if note.kind == OPEN:
            fields = json.loads(note.payload)
            self._utterances[note.ident] = Utterance(self._language(fields["language"]), fields["hints"])
        elif note.kind == CLOSE:
            self._utterances.pop(note.ident, None)
        elif utterance := self._utterances.get(note.ident):
            if note.kind == FEED:
                utterance.pcm += note.payload
                utterance.unseen_bytes += len(note.payload)
            elif note.kind in (SETTLE, FINISH):
                utterance.asked = note  # a later question replaces the one that has not been answered

    def work(self) -> None:
        """Decode once, for whoever needs it most; perhaps not at all."""
        waiting = next((i for i, u in self._utterances.items() if u.asked), None)
        if waiting is not None:
            self._guard(waiting, self._answer)
            return
        if time.monotonic() < self._next_partial_at:
            return
        ident = max(self._utterances, key=lambda i: self._utterances[i].unseen_bytes, default=None)
        if ident is not None and self._utterances[ident].unseen_bytes >= PARTIAL_BYTES:
            self._guard(ident, self._partial)

    def _guard(self, ident: int, job: Any) -> None:
        started = time.monotonic()
        try:
            job(ident, self._utterances[ident])
        except (RuntimeError, ValueError) as error:  # CTranslate2's: out of memory, a broken model
            self._utterances.pop(ident, None)
            message = json.dumps({"message": f"Whisper failed: {error}"})
            self._link.send(FAILED, ident, message.encode())
        finished = time.monotonic()
        self._next_partial_at = finished + (finished - started) / 2

    def _answer(self, ident: int, utterance: Utterance) -> None:
        asked = utterance.asked
        assert asked is not None
        fields = json.loads(asked.payload)
        self._read(utterance, self._settings["beam"], fields["silence_ms"])
        utterance.asked = None
        if asked.kind == FINISH:
            del self._utterances[ident]
            self._tell(FINAL, ident, utterance)
        else:
            self._tell(SETTLED, ident, utterance, fields["number"])

    def _partial(self, ident: int, utterance: Utterance) -> None:
        before = utterance.text
        self._read(utterance, 1, 0)
        if utterance.text != before:
            self._tell(PARTIAL, ident, utterance)

    def _read(self, utterance: Utterance, beam: int, silence_ms: int) -> None:
        while len(utterance.pcm) > WINDOW_S * RATE_HZ * 2:
            cut = quiet_moment(utterance.pcm)
            utterance.before = _join(utterance.before, self._decode(utterance, utterance.pcm[:cut], beam))
            del utterance.pcm[:cut]
        end = len(utterance.pcm) - max(0, silence_ms - TAIL_MS) * BYTES_PER_MS
        utterance.text = _join(utterance.before, self._decode(utterance, utterance.pcm[: max(0, end)], beam))
        utterance.unseen_bytes = 0

    def _decode(self, utterance: Utterance, pcm: bytearray, beam: int) -> str:
        audio = np.frombuffer(bytes(pcm[: len(pcm) & ~1]), "<i2").astype(np.float32) / 32768.0
        if not audio.size:
            return ""
        segments, info = self._model.transcribe(
            audio,
            language=utterance.language or None,
            beam_size=beam,
            temperature=0.0,  # no second tries at higher temperatures: they multiply the time of bad audio
            condition_on_previous_text=False,
            initial_prompt=utterance.before.encode()[-PROMPT_BYTES:].decode(errors="ignore") or None,
            hotwords=utterance.hints or None,
            without_timestamps=True,
            # Nobody says more than this; without it noise can make it babble for seconds.
            max_new_tokens=min(MOST_TOKENS, 16 + 10 * (audio.size // RATE_HZ + 1)),
            vad_filter=True,  # what is not speech makes Whisper invent sentences
        )
        kept = [s.text for s in segments if not (s.no_speech_prob > NO_SPEECH and s.avg_logprob < LOG_PROB)]
        if not utterance.language and kept:
            utterance.language = str(info.language)
        return " ".join("".join(kept).split())

    def _language(self, tag: str) -> str:
        """The model's code for a BCP 47 tag; "" lets the model detect it."""
        tag = tag or self._settings["language"]
        code = tag.split("-")[0].lower()
        if not self.is_multilingual:
            return "en"
        return code if code in self._model.supported_languages else ""

    def _tell(self, kind: int, ident: int, utterance: Utterance, number: int = 0) -> None:
        fields = {"text": utterance.text, "language": utterance.language or None, "number": number}
        self._link.send(kind, ident, json.dumps(fields).encode())


def _join(before: str, after: str) -> str:
    return f"{before} {after}".strip()


def work(link: Link, settings: dict[str, Any]) -> None:
    """Recognize until the parent is gone."""
    recognizer = Recognizer(link, settings)
    link.ready({"is_multilingual": recognizer.is_multilingual})
    while True:
        if not recognizer.has_work:
            pause_s = recognizer.partial_in_s
            if pause_s is None:
                recognizer.take(link.next())
            else:
                link.wait(pause_s)
        notes = link.poll()
        while notes:
            recognizer.take(notes.popleft())
        recognizer.work()


if __name__ == "__main__":
    run(work)
