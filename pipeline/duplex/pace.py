"""Where the text of a reply sits in its sound, when the model does not tell: an estimate.

Models send text and sound of a reply interleaved, the text more or less ahead, and all of it faster than it
is played. Text is first taken to sound where the text before it ends, at an ordinary pace. Whenever the sound
that came since the last known point is about as long as the text that came with it would take to say, the two
belong together: the text is stretched or squeezed to fit. When the reply is complete its true length is
known, and all is fitted to it.
"""

from collections.abc import Callable

from pipeline.chain import GUESSED_CHARS_PER_S
from pipeline.core.dialogue import Mark
from pipeline.reply import Reply

SLOWEST_MS, FASTEST_MS = 120.0, 33.0
"""Per character: 8 to 30 characters a second. Slower or faster than that nobody speaks, so text and sound
that would have to do so do not belong together."""


class Pace:
    """Marks one reply's text while it comes in."""

    def __init__(self, reply: Reply, on_mark: Callable[[Reply, Mark], None]) -> None:
        self._reply, self._on_mark = reply, on_mark
        self._known, self._known_ms = 0, 0.0
        """So many marks end at that time, as far as can be known."""

    def add(self, start: int, end: int) -> None:
        """The reply's text from `start` to `end` has come in, after the sound that there is by now."""
        self._fit(self._reply.ms(self._reply.made))
        marks = self._reply.said.marks
        end = start + len(self._reply.text[start:end].rstrip())
        if end == start:
            return
        start = marks[-1].end if marks else start  # with the space before it
        begins = marks[-1].end_ms if marks else 0.0
        mark = Mark(start, end, begins, begins + (end - start) * 1000 / GUESSED_CHARS_PER_S)
        self._reply.said.add(mark)
        self._on_mark(self._reply, mark)

    def close(self) -> None:
        """All sound is there: text and sound end together."""
        total = self._reply.ms(self._reply.made)
        if self._known < len(self._reply.said.marks) and total > self._known_ms:
            self._stretch(total)

    def cut(self) -> int:
        """The sound breaks off here: where in the text that is. What comes after it is unsaid."""
        reply, marks = self._reply, self._reply.said.marks
        total = reply.ms(reply.made)
        self._fit(total)
        end = len(reply.said.heard_text(reply.text, total))
        kept = [m for m in marks if m.start < end]
        marks[:] = [Mark(m.start, min(m.end, end), m.start_ms, min(m.end_ms, total)) for m in kept]
        return end

    def _fit(self, until_ms: float) -> None:
        """Let the text since the last known point end with the sound, if it can have been said in it."""
        new = self._reply.said.marks[self._known :]
        if not new:
            return
        per_char_ms = (until_ms - self._known_ms) / (new[-1].end - new[0].start)
        if FASTEST_MS <= per_char_ms <= SLOWEST_MS:
            self._stretch(until_ms)

    def _stretch(self, until_ms: float) -> None:
        marks = self._reply.said.marks
        new, base = marks[self._known :], self._known_ms
        by = (until_ms - base) / max(1.0, new[-1].end_ms - base)
        marks[self._known :] = [
            Mark(m.start, m.end, base + (m.start_ms - base) * by, base + (m.end_ms - base) * by) for m in new
        ]
        self._known, self._known_ms = len(marks), until_ms
