"""PCM arithmetic: framing, WAV, G.711 and level. Pure functions and one small buffer; no I/O.

All audio is s16le mono unless a name says otherwise.
"""

import io
import struct
import wave
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FRAME_BYTES = 640  # 20 ms at 16 kHz


class Framer:
    """Cuts chunks of any length into 20 ms frames; keeps the rest for the next chunk.

    Any split of the same bytes gives the same frames.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def push(self, pcm: bytes) -> Iterator[bytes]:
        """Yield every whole frame now available."""
        if self._rest:
            pcm = self._rest + pcm
        end = len(pcm) - len(pcm) % FRAME_BYTES
        self._rest = pcm[end:]
        if end == FRAME_BYTES:  # the usual case: one 20 ms message, no copy
            return iter((pcm[:end],))
        return iter([pcm[i : i + FRAME_BYTES] for i in range(0, end, FRAME_BYTES)])

    @property
    def pending_bytes(self) -> int:
        return len(self._rest)


class BadAudio(ValueError):
    """Audio from outside that cannot be used. The text is a sentence for whoever sent it."""


def read_wav(data: bytes) -> tuple[bytes, int]:
    """(s16le mono pcm, rate_hz) of a WAV file in memory. Stereo is mixed down. Raises `BadAudio`."""
    try:
        with wave.open(io.BytesIO(data)) as wav:
            channels, width, rate_hz = wav.getnchannels(), wav.getsampwidth(), wav.getframerate()
            raw = wav.readframes(wav.getnframes())
    except (wave.Error, EOFError, struct.error) as error:
        raise BadAudio(
            f"This is not a WAV file that can be read ({str(error) or 'it is cut short'})."
        ) from error
    if width != 2:
        raise BadAudio(f"The WAV file has {8 * width}-bit samples; 16-bit PCM is needed.")
    if channels == 1:
        return raw[: len(raw) & ~1], rate_hz
    frames = np.frombuffer(raw[: len(raw) - len(raw) % (2 * channels)], "<i2").reshape(-1, channels)
    return frames.astype(np.int32).mean(axis=1).astype("<i2").tobytes(), rate_hz


def write_wav(pcm: bytes, rate_hz: int) -> bytes:
    """A mono 16-bit WAV file in memory."""
    out = io.BytesIO()
    with wave.open(out, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate_hz)
        wav.writeframes(pcm)
    return out.getvalue()


def rms(pcm: bytes) -> float:
    """Level of a chunk, 0 (silence) to 1 (full scale)."""
    if len(pcm) < 2:
        return 0.0
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples)) / 32768.0)


def samples_of(pcm: bytes) -> NDArray[np.int16]:
    """A read-only int16 view of the bytes."""
    return np.frombuffer(pcm, "<i2")
