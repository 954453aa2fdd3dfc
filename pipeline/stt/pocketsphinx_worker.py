"""The process in which PocketSphinx runs: it holds the GIL while decoding, so the server is no place for it.

One decoder (91 MB) serves one utterance at a time and is reused; more are loaded when more people speak at
once, up to a limit, past which an utterance's audio waits for a decoder to become free.

Each text is the decoder's running hypothesis. Ending the decoder's utterance first (its lattice search)
gave no better words on our clips, WER 0.611 against 0.607, and cost 38 ms in the mean and 249 at worst, so
it is switched off; see docs/plugins/stt-pocketsphinx.md.
"""

import json
import re
from pathlib import Path
from typing import Any

from pocketsphinx import Decoder

from pipeline.stt.messages import (
    BYTES_PER_MS,
    CLOSE,
    FAILED,
    FEED,
    FINAL,
    FINISH,
    OPEN,
    PARTIAL,
    PREPARE,
    SETTLE,
    SETTLED,
)
from pipeline.stt.pocketsphinx_narrow import Books, Narrow
from pipeline.worker import Link, Note, Refused, run

PARTIAL_BYTES = 120 * BYTES_PER_MS  # a word is 200 ms or more: looking oftener finds nothing new
WAITING_BYTES = 300_000 * BYTES_PER_MS  # five minutes of speech: nobody waits longer for a decoder
_VARIANT = re.compile(r"\(\d+\)$")  # "read(2)" is the second pronunciation of "read"


def words_of(hypothesis: str) -> str:
    """The words of a hypothesis: without fillers such as <sil>, [NOISE] and ++UM++, and variant numbers."""
    return " ".join(_VARIANT.sub("", w) for w in hypothesis.split() if w[0] not in "<[+")


class Utterance:
    """What the worker knows of one utterance."""

    def __init__(self, expected: dict[str, Any] | None) -> None:
        self.expected = expected
        self.decoder: Decoder | None = None
        self.narrow: Narrow | None = None  # hears the same with few words
        self.waiting: list[Note] = []  # until there is a decoder for it
        self.waiting_bytes = 0
        self.unseen_bytes = 0  # fed since its text was last looked at
        self.text = ""


class Recognizer:
    """Hands decoders to utterances and their words to the parent."""

    def __init__(self, link: Link, settings: dict[str, Any]) -> None:
        self._link = link
        self._limit = int(settings["decoders"])
        self._grammar = _grammar_text(settings["grammar"])
        self._config = _decoder_config(settings)
        self._books = Books(self._limit)
        self._free: list[Decoder] = []
        self._loaded = 0
        self._utterances: dict[int, Utterance] = {}
        self._free.append(self._load())

    def take(self, note: Note) -> None:
        """Deal with one message."""
        if note.kind == PREPARE:
            self._books.prepare(json.loads(note.payload)["phrases"])
            return
        if note.kind == OPEN:
            utterance = self._utterances[note.ident] = Utterance(json.loads(note.payload).get("expected"))
            if decoder := self._decoder():
                self._start(utterance, decoder)
            return
        known = self._utterances.get(note.ident)
        if known is None:
            return
        if note.kind == CLOSE:
            self._forget(note.ident)
        elif known.decoder is None:
            self._wait(note, known)
        else:
            self._work(note, known, known.decoder)

    def _start(self, utterance: Utterance, decoder: Decoder) -> None:
        utterance.decoder = decoder
        if expected := utterance.expected:
            channel = decoder.get_cmn(False)
            utterance.narrow = self._books.open(expected["kind"], expected["phrases"], channel)
        decoder.start_utt()

    def _work(self, note: Note, utterance: Utterance, decoder: Decoder) -> None:
        if note.kind == FEED:
            decoder.process_raw(note.payload, False, False)
            if utterance.narrow:
                utterance.narrow.feed(note.payload)
            utterance.unseen_bytes += len(note.payload)
            if utterance.unseen_bytes >= PARTIAL_BYTES:
                before = utterance.text
                if self._look(utterance, decoder) != before:
                    self._answer(PARTIAL, note.ident, utterance.text)
        elif note.kind in (SETTLE, FINISH):
            text = self._look(utterance, decoder)
            if note.kind == SETTLE:
                self._answer(SETTLED, note.ident, text, json.loads(note.payload)["number"])
            else:
                self._answer(FINAL, note.ident, text)
                self._forget(note.ident)

    def _look(self, utterance: Utterance, decoder: Decoder) -> str:
        utterance.unseen_bytes = 0
        hypothesis = decoder.hyp()
        words = utterance.narrow.heard(hypothesis) if utterance.narrow else None
        if words is None:
            words = hypothesis.hypstr if hypothesis else ""
        utterance.text = words_of(words)
        return utterance.text

    def _wait(self, note: Note, utterance: Utterance) -> None:
        utterance.waiting.append(note)
        utterance.waiting_bytes += len(note.payload)
        if utterance.waiting_bytes > WAITING_BYTES:
            message = f"pocketsphinx: all {self._limit} decoders of a worker have been busy for too long"
            self._link.send(FAILED, note.ident, json.dumps({"message": message}).encode())
            self._forget(note.ident)

    def _forget(self, ident: int) -> None:
        utterance = self._utterances.pop(ident)
        if utterance.narrow:
            utterance.narrow.close()
        decoder = utterance.decoder
        if decoder is None:
            return
        decoder.end_utt()  # adapts its idea of the channel (live CMN), which the next utterance starts from
        for waiting_id, waiting in self._utterances.items():
            if waiting.decoder is None:
                self._start(waiting, decoder)
                notes, waiting.waiting = waiting.waiting, []
                for note in notes:
                    if waiting_id in self._utterances:
                        self.take(note)
                return
        self._free.append(decoder)

    def _decoder(self) -> Decoder | None:
        if self._free:
            return self._free.pop()
        return self._load() if self._loaded < self._limit else None

    def _load(self) -> Decoder:
        try:
            decoder = Decoder(**self._config)
            if self._grammar:
                decoder.add_jsgf_string("grammar", self._grammar)
                decoder.activate_search("grammar")
        except (RuntimeError, ValueError) as error:
            raise Refused(
                "pocketsphinx could not load its model or grammar; check the paths, and that every word of "
                f"the grammar is in the dictionary ({error})"
            ) from error
        self._loaded += 1
        return decoder

    def _answer(self, kind: int, ident: int, text: str, number: int = 0) -> None:
        self._link.send(kind, ident, json.dumps({"text": text, "number": number}).encode())


def _decoder_config(settings: dict[str, Any]) -> dict[str, Any]:
    # fwdflat: a second pass that cost 620 ms a turn in the mean for no measurable gain.
    config: dict[str, Any] = {"loglevel": "FATAL", "fwdflat": False, "bestpath": False}
    for option, parameter in (("acoustic_model", "hmm"), ("language_model", "lm"), ("dictionary", "dict")):
        if settings[option]:
            config[parameter] = settings[option]
    if settings["grammar"]:
        config["lm"] = None  # saves 60 MB a decoder
    return config


def _grammar_text(value: str) -> str:
    if not value or value.lstrip().startswith("#JSGF"):
        return value
    return Path(value).read_text(encoding="utf-8")


def work(link: Link, settings: dict[str, Any]) -> None:
    """Recognize until the parent is gone."""
    recognizer = Recognizer(link, settings)
    link.ready()
    while True:
        note = link.next()
        # What has been cancelled meanwhile is not worth decoding.
        if note.kind == FEED and any(n.kind == CLOSE and n.ident == note.ident for n in link.poll()):
            continue
        recognizer.take(note)


if __name__ == "__main__":
    run(work)
