"""A talk as text that other programs read: plain text, SubRip (SRT), WebVTT. Pure: conversation in, text out.

The times are those of `conversation.mp3`: subtitles fit that file. What was typed has no time on it, and is
only in the plain text. Of a reply that was cut, what was heard.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LINE_CHARS = 84
"""Two lines of 42: what subtitles usually show at once (BBC, Netflix)."""
SHORTEST_MS = 1
NAMES = {"user": "User", "assistant": "Agent"}

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cue:
    """A piece of text, and from when to when it is shown."""

    start_ms: int
    end_ms: int
    who: str
    """"" = nobody is named."""
    text: str


def text_of(conversation: Mapping[str, Any]) -> str:
    """The transcript for people."""
    lines = [f"Talk of {conversation.get('start_time') or 'an unknown time'}", ""]
    for message in conversation.get("messages", ()):
        who, said = NAMES.get(message.get("role")), " ".join(_said(message).split())
        if who and said:
            cut = " —" if message.get("interrupted") else ""
            lines.append(f"{who}: {said}{cut}")
        elif message.get("role") == "tool":
            lines.append(f"[{message.get('name')}]")
    if summary := conversation.get("summary"):
        lines += ["", f"Summary: {summary}"]
    return "\n".join(lines) + "\n"


def srt_of(conversation: Mapping[str, Any]) -> str:
    """A talk as SubRip."""
    return srt(cues(conversation))


def vtt_of(conversation: Mapping[str, Any]) -> str:
    """A talk as WebVTT, with the speakers as voices."""
    return vtt(cues(conversation))


def srt(cues: Iterable[Cue]) -> str:
    """SubRip."""
    blocks = []
    for number, cue in enumerate(cues, 1):
        times = f"{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}"
        who = f"{cue.who}: " if cue.who else ""
        blocks.append(f"{number}\n{times}\n{who}{cue.text}\n")
    return "\n".join(blocks)


def vtt(cues: Iterable[Cue]) -> str:
    """WebVTT."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        escaped = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}"
        who = f"<v {cue.who}>" if cue.who else ""
        blocks.append(f"{times}\n{who}{escaped}\n")
    return "\n".join(blocks)


def cues(conversation: Mapping[str, Any]) -> list[Cue]:
    """All that was said, in the order of its times."""
    found: list[Cue] = []
    for message in conversation.get("messages", ()):
        who, start, end = NAMES.get(message.get("role")), message.get("start_ms"), message.get("end_ms")
        if who and isinstance(start, int | float) and isinstance(end, int | float):
            end = max(round(start) + SHORTEST_MS, round(end))
            found += readable(_said(message), round(start), end, who, message.get("words") or ())
    return sorted(found, key=lambda cue: (cue.start_ms, cue.end_ms))


def readable(said: str, start: int, end: int, who: str = "", words: Sequence[Any] = ()) -> Iterator[Cue]:
    """What was said from `start` to `end` (ms) in pieces that can be read: by the times of its words
    (`[from, to, start_ms]`, from its start on), or shared out by characters."""
    pieces = [*_pieces(said)]
    begins = [_when(words, at, len(said), end - start) for at, _ in pieces]
    for number, (_, piece) in enumerate(pieces):
        begin = start + begins[number]
        stop = start + begins[number + 1] if number + 1 < len(pieces) else end
        yield Cue(begin, max(begin + SHORTEST_MS, stop), who, piece)


def _pieces(said: str) -> Iterator[tuple[int, str]]:
    """(where it begins, piece): cut between words, at most a subtitle long where words allow it."""
    start, at, line = 0, 0, ""
    for word in said.split():
        at = said.index(word, at)
        if line and len(line) + 1 + len(word) > LINE_CHARS:
            yield start, line
            line = ""
        start, line = (start, f"{line} {word}") if line else (at, word)
        at += len(word)
    if line:
        yield start, line


def _when(words: Sequence[Any], at: int, length: int, whole_ms: int) -> int:
    """When, from the message's start on, the character `at` is spoken."""
    known = [(0, 0), (length, whole_ms)]
    known += [(word[0], min(whole_ms, word[2])) for word in words if 0 < word[0] < length]
    known.sort()
    before = max(k for k in known if k[0] <= at)
    after = min((k for k in known if k[0] > at), default=before)
    share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return round(before[1] + share * max(0, after[1] - before[1]))


def _said(message: Message) -> str:
    heard = message.get("heard") if message.get("interrupted") else None
    return str(message.get("content") or "") if heard is None else str(heard)


def _time(ms: int, comma: str) -> str:
    seconds, ms = divmod(max(0, ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{comma}{ms:03}"
