"""What of a text can be spoken, and where its words are. Pure functions; no language knowledge."""

import re
import unicodedata

_WORD = re.compile(r"\S+")
_TAG = re.compile(r"</?[A-Za-z!?][^<>]*>")
_MARKS = re.compile(r"[*`~|]+|_{2,}|^\s*#{1,6}(?=\s)", re.MULTILINE)  # Markdown's, of no sound of their own
_JOINERS = "\u200c\u200d"  # part of how Persian and Indic words are written
_FIRST_PICTURE = 0x2190  # symbols below this, such as the degree sign, have a name worth saying


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a digit in it: punctuation and emoji alone make no speech."""
    return any(c.isalnum() for c in text)


def words_of(text: str) -> list[tuple[int, int]]:
    """(start, end) of each run of characters between spaces that has something to say."""
    return [m.span() for m in _WORD.finditer(text) if is_speakable(m.group())]


def plain(text: str) -> str:
    """The text with markup, pictures and control characters blanked out.

    Every character keeps its place, so offsets into the result are offsets into `text`.
    """
    text = _MARKS.sub(_blank, _TAG.sub(_blank, text))
    return "".join(c if _has_sound(c) else " " for c in text)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _has_sound(char: str) -> bool:
    if char.isascii():
        return char.isprintable() or char == "\n"
    category = unicodedata.category(char)
    if category in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return char in _JOINERS
    return category not in ("So", "Sk") or ord(char) < _FIRST_PICTURE


def pieces(text: str, longest: int) -> list[tuple[int, str]]:
    """Cut a text into (offset, piece) of at most `longest` characters, after a sentence where there is one,
    else after a clause, else between words, else anywhere."""
    out: list[tuple[int, str]] = []
    at = 0
    while at < len(text):
        end = _cut(text, at, longest)
        out.append((at, text[at:end]))
        at = end
    return out


def _cut(text: str, at: int, longest: int) -> int:
    limit = at + longest
    if limit >= len(text):
        return len(text)
    window = text[at:limit]
    for pattern in (r"[.!?。！？\n]\s", r"[,;:،、]\s", r"\s"):
        ends = [m.end() for m in re.finditer(pattern, window)]
        if ends and ends[-1] > longest // 4:  # a shorter piece would sound chopped
            return at + ends[-1]
    return limit
