"""When each word of a request's text is said, from what a vendor says it spoke.

A vendor tells times of *its* words, and they need not be ours: "3" may come back as "three", "Dr." as
"doctor", punctuation may be gone, a word cut in two. So its words are looked for in our text, in order; ours
that lie between two that were found get the time between them. Pure; no vendor, no clock.
"""

from collections.abc import Sequence
from itertools import accumulate

from pipeline.contracts import SpokenWord
from pipeline.tts.text import plain, words_of

LOOK_AHEAD = 8
"""How many of our words a vendor's normalization may swallow at once, such as a long number."""


def sendable(text: str) -> str:
    """What of the text is sent to be spoken: no markup, pictures or control characters, single spaces."""
    return " ".join(plain(text).split())


class WordTimes:
    """The words of one text, placed one after the other as the vendor names them."""

    def __init__(self, text: str) -> None:
        text = plain(text)
        self._spans = words_of(text)
        self._letters = [_letters(text[start:end]) for start, end in self._spans]
        self._next = 0
        """The first of our words that has not been said."""
        self._got = ""
        """How much of it has been said, when it comes in parts."""
        self._since: float | None = None
        """When what is not placed yet began."""
        self._until = 0.0
        """When what the vendor named last ended."""
        self._placed_until = 0.0
        self._waiting: list[tuple[int, float, float]] = []

    def say(self, word: str, start_ms: float, end_ms: float) -> None:
        """The vendor says that it speaks `word` then. In order; a "word" may hold spaces."""
        parts = word.split()
        ends = list(accumulate(len(part) for part in parts))
        for part, end in zip(parts, ends, strict=True):
            span = (end_ms - start_ms) / ends[-1]
            self._say(_letters(part), start_ms + span * (end - len(part)), start_ms + span * end)

    def take(self, audio_ms: float) -> list[SpokenWord]:
        """The words that end within the sound that is out."""
        out = []
        while self._waiting and self._waiting[0][2] <= audio_ms:
            index, start_ms, end_ms = self._waiting.pop(0)
            out.append(SpokenWord(*self._spans[index], int(start_ms), int(end_ms)))
        return out

    def finish(self, audio_ms: float) -> list[SpokenWord]:
        """No more sound will come: the rest, none of it later than that."""
        if self._since is not None:
            self._place(range(self._next, len(self._spans)), self._since, self._until)
        self._waiting = [(i, min(start, audio_ms), min(end, audio_ms)) for i, start, end in self._waiting]
        return self.take(audio_ms)

    def _say(self, letters: str, start_ms: float, end_ms: float) -> None:
        if not letters or self._next >= len(self._spans):
            return
        wanted = self._letters[self._next]
        for got in dict.fromkeys((self._got, "")):
            if wanted.startswith(got + letters):
                if not got or self._since is None:
                    self._since = start_ms
                self._got, self._until = got + letters, end_ms
                if self._got == wanted:
                    self._place(range(self._next, self._next + 1), self._since, end_ms)
                return
        for index in range(self._next + 1, min(self._next + 1 + LOOK_AHEAD, len(self._spans))):
            if self._letters[index] == letters:
                since = start_ms if self._since is None else self._since
                until = self._until if self._since is not None else start_ms
                self._place(range(self._next, index), since, until)
                self._place(range(index, index + 1), start_ms, end_ms)
                return
        self._since = start_ms if self._since is None else self._since
        self._until = end_ms

    def _place(self, words: Sequence[int], start_ms: float, end_ms: float) -> None:
        """Those words share that time by their lengths, never earlier than what was placed before."""
        if not words:
            return
        start_ms = max(start_ms, self._placed_until)
        end_ms = max(end_ms, start_ms)
        lengths = [len(self._letters[i]) for i in words]
        ends = [start_ms + (end_ms - start_ms) * sum_ / sum(lengths) for sum_ in accumulate(lengths)]
        for index, start, end in zip(words, [start_ms, *ends], ends, strict=False):
            self._waiting.append((index, start, end))
        self._placed_until = end_ms
        self._next, self._got, self._since = words[-1] + 1, "", None


class Samples:
    """Joins audio that a wire may have cut in mid-sample, and counts it."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._rest = b""
        self._bytes = 0

    @property
    def ms(self) -> float:
        """How much sound has come."""
        return self._bytes * 500 / self._rate_hz

    def push(self, pcm: bytes) -> bytes:
        """The whole samples there are now."""
        data = self._rest + pcm if self._rest else pcm
        whole = len(data) - len(data) % 2
        self._rest = data[whole:]
        self._bytes += whole
        return data[:whole]


def _letters(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())
