"""Cuts a stream of text into pieces worth speaking, and makes a piece speakable.

The first piece is short, for the sake of time to first sound; the others are sentences, for the sake of
prosody. Segments tile the text: joined, they are the reply, so offsets into the reply stay exact.
"""

import re
import unicodedata
from dataclasses import dataclass

FIRST_CLAUSE_CHARS = 24
"""A first segment may end at a comma from here on: about 1.5 s of speech, enough to cover the next one."""
LONGEST_CHARS = 220
"""A sentence is cut at the best place before this: some 15 s, past which a barge-in wastes too much."""

_SENTENCE = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n+")
_CLAUSE = re.compile(r"[,;:–—](?=\s)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|no|sr|sra|ud|z\.b|[a-z])\.$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Segment:
    """`text` is the reply's text from `start` to `end` (character offsets)."""

    text: str
    start: int
    end: int


class Segmenter:
    """Push tokens, get segments; `flush` at the end gives the rest."""

    __slots__ = ("_buffer", "_first", "_start")

    def __init__(self) -> None:
        self._buffer = ""
        self._start = 0
        self._first = True

    def push(self, token: str) -> list[Segment]:
        """Every segment that is now complete."""
        self._buffer += token
        segments = []
        while (end := self._cut()) is not None:
            segments.append(self._take(end))
        return segments

    def flush(self) -> list[Segment]:
        """No more tokens come: the rest, if there is any."""
        return [self._take(len(self._buffer))] if self._buffer else []

    def _take(self, end: int) -> Segment:
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        segment = Segment(text, self._start, self._start + end)
        self._start += end
        if text.strip():
            self._first = False
        return segment

    def _cut(self) -> int | None:
        text = self._buffer
        for match in _SENTENCE.finditer(text):
            end = match.end()
            if not text[:end].strip():
                continue
            if match.group().strip() == "." and _ABBREVIATION.search(text[:end]):
                continue
            if end == len(text) and text[: match.start()][-1:].isdigit():
                return None  # "3." may go on as "3.5"
            return end
        if self._first:
            for match in _CLAUSE.finditer(text):
                if match.end() >= FIRST_CLAUSE_CHARS:
                    return match.end()
        if len(text) > LONGEST_CHARS:
            head = text[:LONGEST_CHARS]
            clauses = [m.end() for m in _CLAUSE.finditer(head) if m.end() > LONGEST_CHARS // 3]
            space = head.rfind(" ")
            return clauses[-1] if clauses else space if space > 0 else LONGEST_CHARS
        return None


_MARKUP = re.compile(r"[*_`#>|~<\\^=]|\[|\]")
_LINK = re.compile(r"\]\(\s*\S+?\)")
_URL = re.compile(r"https?://\S+")


def speakable(text: str) -> str:
    """The text without markdown, links' addresses and emoji. Of the same length, so offsets hold."""

    def blank(match: re.Match[str]) -> str:
        return " " * len(match.group())

    text = _LINK.sub(blank, text)
    text = _URL.sub(lambda m: "a link".ljust(len(m.group()))[: len(m.group())], text)
    text = _MARKUP.sub(blank, text)
    if text.isascii():
        return text
    return "".join(" " if unicodedata.category(c) in ("So", "Cs", "Co", "Cn", "Cf") else c for c in text)
