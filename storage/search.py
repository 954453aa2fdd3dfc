"""Searching what was said: the question for a database, and the piece of text that shows why it was found.

All words that are asked for must be in one message; a word also finds longer ones that begin with it. SQLite
has an FTS5 table for it, PostgreSQL an index (see `migrations.m0004_search`). Scripts without spaces between
their words (Chinese, Japanese, Thai …) are looked for letter by letter instead.
"""

import re
import unicodedata
from typing import NamedTuple

from sqlalchemy import (
    ColumnClause,
    Integer,
    Select,
    String,
    column,
    func,
    literal_column,
    select,
    table,
    text,
)

from storage.schema import messages

AROUND = 60
"""Characters that a snippet shows before and after the first word found."""

_said = table("said", column("id", Integer), column("session_id", String), column("n", Integer))
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Piece(NamedTuple):
    """A part of a snippet."""

    text: str
    hit: bool
    """Whether this is what was looked for."""


def words_of(wanted: str) -> list[str]:
    """The words to look for; none if the text must be looked for as it is."""
    if _SPACELESS.search(wanted):
        return []
    return [word for word in wanted.split() if any(map(str.isalnum, word))]


def messages_with(dialect: str, wanted: str) -> Select[tuple[str, int]]:
    """(session_id, n) of the messages in which that was said."""
    wanted = wanted.replace("\0", "")
    words = words_of(wanted)
    every = select(messages.c.session_id, messages.c.n)
    if not words:
        return every.where(messages.c.content.icontains(wanted.strip(), autoescape=True))
    if dialect == "postgresql":
        quoted = ("'" + word.replace("\\", "\\\\").replace("'", "''") + "':*" for word in words)
        # Written out, not bound: only then does PostgreSQL see that its index is meant.
        simple: ColumnClause[str] = literal_column("'simple'")
        asked = func.to_tsquery(simple, " & ".join(quoted))
        return every.where(func.to_tsvector(simple, messages.c.content).bool_op("@@")(asked))
    query = " AND ".join('"' + word.replace('"', '""') + '"*' for word in words)
    found = text("said.id IN (SELECT rowid FROM said_words WHERE said_words MATCH :words)")
    return select(_said.c.session_id, _said.c.n).where(found.bindparams(words=query))


def snippet(content: str, wanted: str) -> list[Piece]:
    """The stretch of a text around the first word found, the words found marked.

    Of a text in which nothing is found (the database breaks words a little differently), its beginning.
    """
    folded, places = _folded(content)
    hits = _hits(folded, [_folded(word)[0] for word in words_of(wanted) or [wanted.strip()]])
    first = places[hits[0][0]] if hits else 0
    start = max(0, first - AROUND)
    while 0 < start < first and not content[start - 1].isspace():
        start += 1
    end = min(len(content), first + 2 * AROUND)
    while first < end < len(content) and not content[end].isspace() and end > first + AROUND:
        end -= 1
    pieces: list[Piece] = []
    at, before = start, "…" if start else ""
    for from_, to in hits:
        begin, stop = places[from_], places[to - 1] + 1
        if begin < at or stop > end:
            continue
        pieces.append(Piece(before + content[at:begin], False))
        pieces.append(Piece(content[begin:stop], True))
        at, before = stop, ""
    pieces.append(Piece(before + content[at:end] + ("…" if end < len(content) else ""), False))
    return [piece for piece in pieces if piece.text]


def _folded(content: str) -> tuple[str, list[int]]:
    """The text without letter cases and accents, and where each of its characters comes from."""
    letters, places = [], []
    for place, character in enumerate(content):
        for letter in unicodedata.normalize("NFKD", character).casefold():
            if not unicodedata.combining(letter):
                letters.append(letter)
                places.append(place)
    return "".join(letters), places


def _hits(folded: str, words: list[str]) -> list[tuple[int, int]]:
    """Where the words are, each at the beginning of a word, without overlaps."""
    stripped = [s for word in words if (s := word.strip("".join(c for c in set(word) if not c.isalnum())))]
    if not stripped:
        return []
    longest_first = sorted(set(stripped), key=len, reverse=True)
    if any(map(_SPACELESS.search, longest_first)):
        pattern = "|".join(map(re.escape, longest_first))
    else:
        pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})\w*"
    return [match.span() for match in re.finditer(pattern, folded)]
