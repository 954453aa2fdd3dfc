"""The default detector: WebRTC's for the price of nothing, confirmed by Silero only when it says "speech".

webrtcvad costs 3 us a frame and misses no speech, but takes dishes, music and breath for speech too. Silero
tells them apart and costs 140 us. So webrtcvad stands at the door, and a frame is speech only if both agree:

    webrtcvad    . . S S S S . S S S . . . . . . . . . . . . .
    Silero       - - R R R R R R R R R R R R R R R R R R - - -      - rests, R runs (TAIL_FRAMES longer)
    answer       . . . S S S . S S . . . . . . . . . . . . . .

When the door opens after a rest, Silero goes on from the state it had (it has learnt the voice and the room)
and catches up with the last `HISTORY_FRAMES` in one run: the frame that opens stays under 1 ms. The defaults
come from `python -m bench.vad`; the numbers are in docs/plugins/vad-webrtc.md.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import webrtcvad

from pipeline.contracts import FRAME_MS, INPUT_RATE_HZ, Detector, Env, Unavailable
from pipeline.vad import silero

HISTORY_FRAMES = 4  # 80 ms: two windows of 32 ms and the context of the first; more brought no earlier onset
TAIL_FRAMES = 10  # webrtcvad blinks inside words; starting Silero anew each time would cost more than waiting

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """`[vad.webrtc]`; `mode` is also `[vad] mode`."""

    mode: int = 2
    """How much webrtcvad itself filters out: 0 (least) to 3 (most)."""
    confirm: Literal["silero", ""] = "silero"
    """Who has to agree; "" trusts webrtcvad alone, which takes music and kitchen noise for speech."""
    threshold: float = 0.4
    """Silero's probability from which a window counts as speech. Lower than Silero's own 0.5, because
    webrtcvad has agreed already: onsets come 30 ms sooner."""
    exit_threshold: float = 0.35
    """Silero's probability below which speech has ended."""
    hangover_ms: int = 60
    """How long webrtcvad may say no while Silero still hears speech: it blinks at soft consonants. Whichever
    ends first, this or Silero, ends the speech."""


class WebrtcDetector:
    """webrtcvad alone."""

    __slots__ = ("_vad",)

    def __init__(self, mode: int) -> None:
        self._vad = webrtcvad.Vad(mode)

    def is_speech(self, frame: bytes) -> bool:
        return bool(self._vad.is_speech(frame, INPUT_RATE_HZ))


class ConfirmedDetector:
    """webrtcvad at the door, Silero behind it."""

    __slots__ = ("_hangover", "_history", "_quiet", "_silero", "_vad")

    def __init__(self, mode: int, hangover_frames: int, second: silero.SileroDetector) -> None:
        self._vad = webrtcvad.Vad(mode)
        self._silero = second
        self._hangover = hangover_frames
        self._history: deque[bytes] = deque(maxlen=HISTORY_FRAMES)
        self._quiet = TAIL_FRAMES + 1  # frames since webrtcvad last said yes: the door is shut

    def is_speech(self, frame: bytes) -> bool:
        self._history.append(frame)
        if self._vad.is_speech(frame, INPUT_RATE_HZ):
            rested, self._quiet = self._quiet > TAIL_FRAMES, 0
            if rested:
                return self._silero.catch_up(b"".join(self._history))
        else:
            self._quiet += 1
            if self._quiet > TAIL_FRAMES:
                return False
        return self._silero.is_speech(frame) and self._quiet <= self._hangover


class WebrtcEngine:
    """Opens a detector per session; loads Silero once if it is wanted and there."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._network: silero.Network | None = None

    @property
    def confirmed(self) -> bool:
        """Whether Silero confirms. Known after `warm()`."""
        return self._network is not None

    async def warm(self) -> None:
        if self._options.confirm != "silero":
            return
        try:
            self._network = await silero.load()
        except Unavailable as reason:
            log.warning("vad webrtc runs without confirmation and will hear speech in loud noise: %s", reason)

    def open(self) -> Detector:
        o = self._options
        if self._network is None:
            return WebrtcDetector(o.mode)
        second = silero.SileroDetector(self._network, o.threshold, o.exit_threshold, pair=True)
        return ConfirmedDetector(o.mode, o.hangover_ms // FRAME_MS, second)

    async def aclose(self) -> None:
        self._network = None


def create(options: Options, env: Env) -> Any:  # noqa: ARG001  (webrtcvad needs nothing of its surroundings)
    """Raises `Unavailable` for a mode that webrtcvad does not have."""
    if options.mode not in range(4):
        raise Unavailable(f"[vad] mode = {options.mode} must be 0, 1, 2 or 3.")
    return WebrtcEngine(options)
