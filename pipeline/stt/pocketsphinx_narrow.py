"""Recognizers of a few hundred words, for answers to a question whose kind is known.

Beside the decoder for free speech, one of these hears the same utterance with a language model of example
answers; it needs a tenth of the other's time. Whoever finds the sound likelier has the word: an answer that
nobody expected is heard as before.

The models are made in a thread, when the first client comes: it takes a second or two, and until then the
decoder for free speech is alone.
"""

import math
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pocketsphinx import Decoder, NGramModel, get_model_path

from pipeline.stt.examples import KINDS, sentences
from pipeline.stt.ngrams import arpa

LIKELIER, LIKELIER_UNASKED = 0.1, 0.5
"""How much likelier, in thousandths of the logarithm a frame, the narrow decoder must find the sound: when it
knows what was asked, and when it only knows what can be asked for. Answers reach 0.5 to 2.5, other clear
speech is below -0.3; what lies between neither understands; see docs/plugins/stt-pocketsphinx.md."""
FAMILIAR = 0.7
"""How many of its pairs of words must be in an example. Forced into words that were not said, other speech
comes out as pairs that nobody says: 0.1 to 0.65 on our clips; answers reach 0.8 to 1."""
DICTIONARY = "words.dict"
MOST_BOOKS = 4
"""Vocabularies kept at once: one for each set of tools in use."""
SPOKEN = {"am": ("EY EH M", "AE M"), "pm": ("P IY EH M",), "i": ("AY",), "a": ("EY", "AH")}
"""How words are said that the dictionary has otherwise, or under another spelling."""

Phrases = tuple[str, ...]
Pair = tuple[str, str]


class Books:
    """The vocabularies, and the decoders that have learnt them."""

    def __init__(self, most_decoders: int) -> None:
        self._most = most_decoders
        self._books: dict[Phrases, Book] = {}

    def prepare(self, phrases: Sequence[str]) -> None:
        """A client came whose agent's tools are asked for in these words."""
        key = tuple(phrases)
        if key in self._books:
            self._books[key] = self._books.pop(key)  # the latest is the last to go
            return
        if len(self._books) >= MOST_BOOKS:
            del self._books[next(iter(self._books))]
        book = self._books[key] = Book(key, self._most)
        threading.Thread(target=book.learn, daemon=True).start()

    def open(self, kind: str, phrases: Sequence[str], channel: str) -> "Narrow | None":
        """A decoder that expects such an answer, if one is free. `channel` is what another one knows of the
        line (its cepstral mean)."""
        self.prepare(phrases)
        return self._books[tuple(phrases)].open(kind, channel)


class Book:
    """One vocabulary: a model for each kind of question."""

    def __init__(self, phrases: Phrases, most: int) -> None:
        self._phrases, self._most = phrases, most
        self._loaded = 0
        self.free: list[Decoder] = []
        self._files: dict[str, str] = {}
        """What a decoder reads, by file name: the dictionary and the models."""
        self._pairs: dict[str, frozenset[Pair]] = {}

    def learn(self) -> None:
        """Make the models and a first decoder. In a thread: nothing is shared until they are ready. If it
        fails (a full disk), free speech is all there is."""
        kinds = (*KINDS, *(("",) if self._phrases else ()))
        said = {kind: list(sentences(kind, self._phrases)) for kind in kinds}
        known = _pronunciations({word for texts in said.values() for text in texts for word in text.split()})
        lines = [
            f"{word}{f'({number})' if number > 1 else ''} {sounds}"
            for word in sorted(known)
            for number, sounds in enumerate(known[word], 1)
        ]
        self._files[DICTIONARY] = "\n".join(lines) + "\n"
        for kind, texts in said.items():
            self._pairs[kind] = frozenset(pair for text in texts for pair in _pairs(text))
            self._files[_model(kind)] = arpa(t for t in texts if all(word in known for word in t.split()))
        self.free.append(self._load())
        self._loaded = 1

    def open(self, kind: str, channel: str) -> "Narrow | None":
        if not self._loaded or _model(kind) not in self._files:
            return None
        if not self.free:
            if self._loaded >= self._most:
                return None
            self._loaded += 1
            self.free.append(self._load())
        decoder = self.free.pop()
        decoder.activate_search(_model(kind))
        decoder.set_cmn(channel)
        decoder.start_utt()
        least = LIKELIER if kind else LIKELIER_UNASKED
        return Narrow(decoder, self, self._pairs[kind], least)

    def _load(self) -> Decoder:
        """14 MB and 0.1 s; the files are gone afterwards, however this process ends later."""
        with TemporaryDirectory(prefix="parley-words-") as folder:
            paths = {name: Path(folder) / name for name in self._files}
            for name, text in self._files.items():
                paths[name].write_text(text, encoding="utf-8")
            dictionary = str(paths.pop(DICTIONARY))
            decoder = Decoder(dict=dictionary, lm=None, loglevel="FATAL", fwdflat=False, bestpath=False)
            for name, path in paths.items():
                decoder.add_lm(name, NGramModel(decoder.config, decoder.get_logmath(), str(path)))
        return decoder


def _model(kind: str) -> str:
    return f"{kind or 'request'}.arpa"


class Narrow:
    """One utterance at a narrow decoder."""

    def __init__(self, decoder: Decoder, book: Book, said: frozenset[Pair], least: float) -> None:
        self._decoder, self._book, self._said, self._least = decoder, book, said, least

    def feed(self, pcm: bytes) -> None:
        self._decoder.process_raw(pcm, False, False)

    def heard(self, other: Any) -> str | None:
        """Its hypothesis, if it is likelier than the other decoder's, which had the same sound, and like what
        people say."""
        own = self._decoder.hyp()
        if own is None or other is None or not own.best_score or not other.best_score:
            return None
        frames = max(1, self._decoder.n_frames())
        gain = 1000 * (math.log(own.best_score) - math.log(other.best_score)) / frames
        pairs = _pairs(own.hypstr)
        familiar = sum(pair in self._said for pair in pairs) / len(pairs)
        return str(own.hypstr) if gain >= self._least and familiar >= FAMILIAR else None

    def close(self) -> None:
        self._decoder.end_utt()
        self._book.free.append(self._decoder)


def _pairs(text: str) -> list[Pair]:
    """Neighbouring words, the ends of the text among them."""
    return list(pairwise(("", *text.split(), "")))


def _pronunciations(words: set[str]) -> dict[str, Sequence[str]]:
    """Of those words that can be said: the shipped dictionary's."""
    known: dict[str, Sequence[str]] = {word: SPOKEN[word] for word in words if word in SPOKEN}
    found: dict[str, list[str]] = {}
    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as dictionary:
        for line in dictionary:
            entry, _, sounds = line.strip().partition(" ")
            word = entry.partition("(")[0]
            if word in words and word not in known:
                found.setdefault(word, []).append(sounds)
    return known | found
