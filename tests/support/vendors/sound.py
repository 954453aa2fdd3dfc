"""What the fakes hear and say: real PCM in, real PCM out, and words that depend on it."""

from dataclasses import dataclass, field

import numpy as np

WORDS = ("go", "forward", "ten", "meters")
"""What is said in `goforward.wav`, which the conformance suite speaks to every recognizer."""
LOUD_RMS = 0.01
FRAME_BYTES = 640
LOUD_FRAMES_PER_WORD = 17
"""71 of the 120 frames of the conformance suite's clip are loud: four words."""
MS_PER_CHAR = 55
CHUNK_MS = 100


@dataclass
class Ear:
    """A recognizer that hears `WORDS`, one after the other, each for so much loud sound.

    16 kHz s16le mono goes in; `words` is what has been understood, `ends_ms` when each one ended.
    """

    frames_per_word: int = LOUD_FRAMES_PER_WORD
    words: list[str] = field(default_factory=list)
    ends_ms: list[int] = field(default_factory=list)
    heard_bytes: int = 0
    loud: int = 0
    _rest: bytes = b""

    def hear(self, pcm: bytes) -> list[str]:
        """The new words."""
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        before = len(self.words)
        frames = np.frombuffer(data[:whole], "<i2").reshape(-1, FRAME_BYTES // 2).astype(np.float32) / 32768
        for rms in np.sqrt((frames**2).mean(axis=1)):
            self.heard_bytes += FRAME_BYTES
            if rms < LOUD_RMS:
                continue
            self.loud += 1
            if self.loud % self.frames_per_word == 0:
                self.words.append(WORDS[len(self.words) % len(WORDS)])
                self.ends_ms.append(self.heard_bytes // 32)
        return self.words[before:]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def heard_ms(self) -> int:
        return self.heard_bytes // 32


def speech_of(text: str, rate_hz: int) -> list[bytes]:
    """A tone as long as the text would take to say, in pieces of `CHUNK_MS`."""
    samples = rate_hz * MS_PER_CHAR * len(text) // 1000
    tone = (np.sin(2 * np.pi * 220 * np.arange(samples) / rate_hz) * 9000).astype("<i2").tobytes()
    step = rate_hz * CHUNK_MS // 1000 * 2
    return [tone[at : at + step] for at in range(0, len(tone), step)]


def char_times_ms(text: str) -> list[int]:
    """When each character of the text begins to sound, and the end of the last one."""
    return [i * MS_PER_CHAR for i in range(len(text) + 1)]
