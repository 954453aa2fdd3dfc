"""G.711, the telephone's eight bits a sample: mu-law and A-law at 8 kHz, as tables.

ITU-T G.711 (11/1988). Decoding follows its tables; a sample becomes the nearest value that can be decoded.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["mu", "a"]

BIAS = 0x84
"""What mu-law adds to a magnitude, so that every segment has a leading one."""


def _mu(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + BIAS << (code >> 4 & 7)) - BIAS
    return -magnitude if code & 0x80 else magnitude


def _a(code: int) -> int:
    code ^= 0x55
    segment, magnitude = code >> 4 & 7, ((code & 0x0F) << 4) + 8
    if segment:
        magnitude = magnitude + 0x100 << segment - 1
    return magnitude if code & 0x80 else -magnitude


_DECODED: dict[Law, NDArray[np.int16]] = {
    "mu": np.array([_mu(code) for code in range(256)], "<i2"),
    "a": np.array([_a(code) for code in range(256)], "<i2"),
}


def _encoder(law: Law) -> NDArray[np.uint8]:
    """The code of every sample, from -32768 on."""
    decoded = _DECODED[law].astype(np.int32)
    order = np.argsort(decoded, kind="stable")
    values = decoded[order]
    borders = (values[1:] + values[:-1]) / 2
    return order[np.searchsorted(borders, np.arange(-32768, 32768))].astype(np.uint8)


_ENCODED: dict[Law, NDArray[np.uint8]] = {"mu": _encoder("mu"), "a": _encoder("a")}


def decode(data: bytes, law: Law) -> bytes:
    """A byte a sample -> s16le."""
    return _DECODED[law][np.frombuffer(data, np.uint8)].tobytes()


def encode(pcm: bytes, law: Law) -> bytes:
    """s16le -> a byte a sample."""
    return _ENCODED[law][np.frombuffer(pcm, "<i2").astype(np.int32) + 32768].tobytes()
