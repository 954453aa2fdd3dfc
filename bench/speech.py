"""What the load client says: a recorded sentence cut off on a loud sample, and a quiet room.

As WebSocket frames that are ready to be sent: the same bytes for every caller, so that sending costs a
client as little as possible and hundreds of callers fit on one core.
"""

import asyncio
import math
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import plugins
from pipeline.contracts import FRAME_BYTES, FRAME_MS, INPUT_RATE_HZ, Env
from pipeline.core.draft import GUESS_STEP_MS
from pipeline.core.endpoint import PAUSE_MS, Edge, Endpointer, Timing

CLIP = Path(__file__).parent.parent / "tests" / "data" / "austen_0890.wav"
CLIP_S = 2.98  # ends in the middle of a word, on a sample at a sixth of full scale
NOISE_LSB = 6
NOISE_FRAMES = 500  # ten seconds of room, over and over


@dataclass(frozen=True, slots=True)
class Speech:
    """A sentence and a room, as WebSocket messages of 20 ms each."""

    clip: tuple[bytes, ...]
    room: tuple[bytes, ...]
    onset_frame: int
    """The first frame of the clip in which webrtcvad (mode 2), alone, hears speech."""
    guesses: int
    """How many pauses within the clip are long enough for the server to think ahead in vain: each makes it
    wait longer before it thinks ahead again."""

    def guess_frames(self, timing: Timing) -> int:
        """The silent frames after which the server thinks ahead, at the end of the clip."""
        return math.ceil((PAUSE_MS + GUESS_STEP_MS * self.guesses) / FRAME_MS) if timing.speculate else 0


def as_message(data: bytes, opcode: int = 2) -> bytes:
    """A client's WebSocket message. The mask is zero (RFC 6455 section 5.3 wants a random one, against
    caches that a benchmark does not have): the server unmasks it like any other."""
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size)) + bytes(4) + data
    return struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size) + bytes(4) + data


def load_speech() -> Speech:
    """Cut the clip, make the noise, and listen to both as the server will."""
    with wave.open(str(CLIP)) as wav:
        pcm = wav.readframes(int(CLIP_S * INPUT_RATE_HZ))
    clip = _frames(pcm)
    noise = np.random.default_rng(890).integers(-NOISE_LSB, NOISE_LSB + 1, NOISE_FRAMES * FRAME_BYTES // 2)
    room = _frames(noise.astype("<i2").tobytes())
    heard = asyncio.run(_heard(room[:100] + clip + room[:50], confirm="silero"))
    alone = asyncio.run(_heard(room[:100] + clip, confirm=""))
    return Speech(
        tuple(map(as_message, clip)),
        tuple(map(as_message, room)),
        onset_frame=alone[100:].index(True),
        guesses=_vain_guesses(heard[: 100 + len(clip)]),
    )


def _frames(pcm: bytes) -> list[bytes]:
    return [pcm[i : i + FRAME_BYTES] for i in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]


async def _heard(frames: list[bytes], confirm: str) -> list[bool]:
    engine = plugins.build("vad", "webrtc", {"confirm": confirm}, Env())
    await engine.warm()
    detector = engine.open()
    heard = [detector.is_speech(frame) for frame in frames]
    await engine.aclose()
    return heard


def _vain_guesses(heard: list[bool]) -> int:
    """Pauses in which a recognizer that answers at once would have the server think ahead."""
    ears, guesses, guessed = Endpointer(120), 0, False
    for speech in heard:
        edge = ears.push(speech)
        if edge is Edge.RESUME:
            guessed = False
        pausing = ears.started and not ears.speaking
        if pausing and not guessed and ears.silence_ms >= PAUSE_MS + GUESS_STEP_MS * guesses:
            guesses, guessed = guesses + 1, True
    return guesses
