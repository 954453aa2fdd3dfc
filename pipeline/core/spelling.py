"""Spells out what a voice would read as a word: confirmation codes.

A code stands whole in a reply's text and is said character by character. The text that is spoken is longer
then; `Spelled.written` leads back to the text that is shown, whose offsets everything else counts by.
"""

import re
from dataclasses import dataclass

_CODE = re.compile(r"(?<![\w-])(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{8}(?![\w-])")
"""Eight lower-case letters and digits, at least one of each."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A text as it is spoken."""

    text: str
    codes: tuple[tuple[int, int, int, int], ...] = ()
    """(from, to) in the spoken text and (from, to) in the written one, in order."""

    def written(self, offset: int) -> int:
        """The place in the written text. Until the last character of a code is said, none of it is."""
        shift = 0
        for spoken_start, spoken_end, start, end in self.codes:
            if offset <= spoken_start:
                break
            if offset < spoken_end:
                return start
            shift = spoken_end - end
        return offset - shift


def spell(text: str) -> Spelled:
    """ "k3x9m2q7" becomes "K, 3, X, 9, M, 2, Q, 7"."""
    spoken, at, codes = "", 0, list[tuple[int, int, int, int]]()
    for match in _CODE.finditer(text):
        spoken += text[at : match.start()]
        letters = ", ".join(match[0].upper())
        codes.append((len(spoken), len(spoken) + len(letters), match.start(), match.end()))
        spoken += letters
        at = match.end()
    return Spelled(spoken + text[at:], tuple(codes))
