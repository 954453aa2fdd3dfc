"""Turns frame-by-frame VAD decisions into edges: onset, start, pause, resume, fade.

One counter of silence, one of voice; every threshold is a point on one of the two, so no two timers can
swallow each other. It counts frames, never time: a burst of audio is judged like a live microphone.

    frames   . . x x x x x x x x . x x . . . . . . . . x . . . . .
    edges        ^onset    ^start        ^pause         (a click: no resume)
             DUCK after 40 ms of voice   PAUSE after 100 ms of silence
"""

from dataclasses import dataclass
from enum import IntEnum

FRAME_MS = 20

ONSET_MS = 40
"""Voice after which a reply is ducked: two frames. A click is one, and the detector smooths already."""
PAUSE_MS = 100
"""Silence after which the utterance's text is asked for: longer than a stop consonant's closure (~80 ms)."""
FADE_MS = 200
"""Silence after which an onset too short to be speech is forgotten."""
CATCH_UP = 5.0
"""How long a recognizer may take for a recording, which comes faster than speech: so many times the time that
it saved. On a machine with nothing else to do the slowest of ours needs 0.4; it is never alone."""
RESUME_MS = 60
"""Voice after which a paused speaker counts as speaking again."""


class Edge(IntEnum):
    """What a frame changed."""

    NONE = 0
    ONSET = 1  # enough voice to duck a reply
    START = 2  # enough voice to be an utterance
    FADE = 3  # the onset was nothing
    PAUSE = 4  # a speaker fell silent
    RESUME = 5  # and goes on


@dataclass(frozen=True, slots=True)
class Timing:
    """The points on the counters and on the clock. All in milliseconds but the word count."""

    start_ms: int = 120
    stop_ms: int = 500
    prefix_ms: int = 300
    min_silence_ms: int = 300
    max_silence_ms: int = 1500
    barge_in_ms: int = 300
    barge_in_words: int = 2
    speculate: bool = True
    final_timeout_ms: int = 5000
    """How long a final transcript may be owed; the recognizer chain's own deadline is shorter."""
    reply_timeout_ms: int = 30_000
    """How long a reply may give no sign of life; the other chains' own deadlines are shorter."""
    duck: bool = True
    """The client can pause play-out while it is not clear yet whether somebody barges in."""


class Endpointer:
    """Counts voice and silence of one microphone."""

    __slots__ = (
        "_blip",
        "end_frame",
        "frame",
        "onset_frame",
        "silence_ms",
        "speaking",
        "start_ms",
        "started",
        "voiced_ms",
    )

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.frame = 0
        """Frames seen so far."""
        self.started = False
        """Between START and `reset`: an utterance is going on."""
        self.speaking = False
        """Between onset and pause or fade."""
        self.onset_frame = 0
        self.end_frame = 0
        """One past the last speech frame."""
        self.voiced_ms = 0
        """Voice since the onset, without its gaps."""
        self.silence_ms = 0
        """Silence since the last speech frame."""
        self._blip = 0

    @property
    def quiet(self) -> bool:
        return not self.speaking and not self.started

    @property
    def in_blip(self) -> bool:
        """Some voice during a pause, not yet enough to count."""
        return self._blip > 0

    def push(self, speech: bool) -> Edge:
        """Take one frame's decision."""
        self.frame += 1
        if self.started and not self.speaking:
            return self._paused(speech)
        if speech:
            return self._voice()
        if not self.speaking:
            return Edge.NONE
        self.silence_ms += FRAME_MS
        if self.started:
            if self.silence_ms >= PAUSE_MS:
                self.speaking = False
                self._blip = 0
                return Edge.PAUSE
        elif self.silence_ms >= FADE_MS:
            self.reset()
            return Edge.FADE
        return Edge.NONE

    def reset(self) -> None:
        """The utterance is over, or was nothing: wait for the next onset."""
        self.started = self.speaking = False
        self.voiced_ms = self.silence_ms = self._blip = 0

    def begin(self) -> None:
        """An utterance starts by decree (a button), not by voice."""
        self.reset()
        self.started = self.speaking = True
        self.onset_frame = self.end_frame = self.frame

    def fall_silent(self) -> None:
        """The microphone stopped sending in mid-speech: that is a pause too."""
        self.speaking = False
        self._blip = 0

    def _voice(self) -> Edge:
        if not self.speaking:
            self.speaking = True
            self.onset_frame = self.frame - 1
            self.voiced_ms = 0
        self.voiced_ms += FRAME_MS
        self.silence_ms = 0
        self.end_frame = self.frame
        if self.started:
            return Edge.NONE
        if self.voiced_ms >= self.start_ms:
            self.started = True
            return Edge.START
        return Edge.ONSET if self.voiced_ms == ONSET_MS else Edge.NONE

    def _paused(self, speech: bool) -> Edge:
        if not speech:
            # A blip that ended was silence all along.
            self.silence_ms += FRAME_MS + self._blip
            self._blip = 0
            return Edge.NONE
        self._blip += FRAME_MS
        if self._blip < RESUME_MS:
            return Edge.NONE
        self.speaking = True
        self.voiced_ms += self._blip
        self.silence_ms = self._blip = 0
        self.end_frame = self.frame
        return Edge.RESUME
