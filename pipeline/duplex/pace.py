"""Where the text of a reply sits in its sound, when the model does not tell: an estimate.

Models send text and sound of a reply interleaved, the text a little ahead, and all of it faster than it is
played. A piece of text is taken to sound from where the piece before it ended, but not before the sound that
came ahead of it, at an ordinary pace. When the reply is complete its true length is known, and all is
stretched to it.
"""

from collections.abc import Callable

from pipeline.chain import GUESSED_CHARS_PER_S
from pipeline.core.dialogue import Mark
from pipeline.reply import Reply


class Pace:
    """Marks one reply's text while it comes in."""

    def __init__(self, reply: Reply, on_mark: Callable[[Reply, Mark], None]) -> None:
        self._reply, self._on_mark = reply, on_mark

    def add(self, start: int, end: int) -> None:
        """The reply's text from `start` to `end` has come in, after the sound that there is by now."""
        marks = self._reply.said.marks
        begins = max(marks[-1].end_ms if marks else 0.0, self._reply.ms(self._reply.made))
        mark = Mark(start, end, begins, begins + (end - start) * 1000 / GUESSED_CHARS_PER_S)
        self._reply.said.add(mark)
        self._on_mark(self._reply, mark)

    def close(self) -> None:
        """All sound is there: text and sound end together."""
        marks, total = self._reply.said.marks, self._reply.ms(self._reply.made)
        if marks and total > 0:
            by = total / marks[-1].end_ms
            marks[:] = [Mark(m.start, m.end, m.start_ms * by, m.end_ms * by) for m in marks]

    def cut(self) -> int:
        """The sound breaks off here: where in the text that is. What comes after it is unsaid."""
        reply = self._reply
        end = len(reply.said.heard_text(reply.text, reply.ms(reply.made)))
        total = reply.ms(reply.made)
        kept = [m for m in reply.said.marks if m.start < end]
        reply.said.marks[:] = [Mark(m.start, min(m.end, end), m.start_ms, min(m.end_ms, total)) for m in kept]
        return end
